//! Why a machine of this host ends: what its supervisor decides, and writes down.

use std::fmt;

use rustix::process::WaitStatus;
use serde::{Deserialize, Serialize};

/// What a supervisor does when its agent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnAgentDeath {
    /// The machine ends with its agent, and all its processes with it.
    #[default]
    EndMachine,
}

/// What a supervisor can see happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody sent it a signal.
    Asked { signal: u32, by: u32 },
    /// Nobody holds the other end of the lifeline any more.
    LifelineClosed,
    /// The agent's process ended.
    AgentEnded(AgentExit),
}

/// Why a machine ends, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// Its supervisor was asked to end it.
    Asked {
        /// With this signal.
        signal: u32,
        /// By the process that had this pid then.
        by: u32,
    },
    /// The process it was attached to is gone.
    LifelineClosed,
    /// Its agent ended.
    AgentEnded(AgentExit),
    /// Its supervisor could not start the agent, or not go on.
    Failed {
        /// What went wrong.
        reason: String,
    },
}

/// How an agent's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentExit {
    /// By itself.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Event {
    /// Whether the machine ends by this, and why.
    pub(super) fn ending(self, on_agent_death: OnAgentDeath) -> Ending {
        match (self, on_agent_death) {
            (Self::Asked { signal, by }, _) => Ending::Asked { signal, by },
            (Self::LifelineClosed, _) => Ending::LifelineClosed,
            (Self::AgentEnded(end), OnAgentDeath::EndMachine) => Ending::AgentEnded(end),
        }
    }
}

impl AgentExit {
    /// Reads a wait status; `None` for one that is no end.
    pub(super) fn of(status: WaitStatus) -> Option<Self> {
        let killed = || status.terminating_signal().map(Self::Killed);
        status.exit_status().map(Self::Exited).or_else(killed)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { signal, by } => {
                write!(f, "process {by} asked for its end (signal {signal})")
            }
            Self::LifelineClosed => f.write_str("the process it was attached to is gone"),
            Self::AgentEnded(AgentExit::Exited(code)) => {
                write!(f, "its agent exited with code {code}")
            }
            Self::AgentEnded(AgentExit::Killed(signal)) => {
                write!(f, "its agent was killed by signal {signal}")
            }
            Self::Failed { reason } => write!(f, "its supervisor failed: {reason}"),
        }
    }
}
