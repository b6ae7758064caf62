//! Whether a machine of this host ends by what its supervisor sees, and why:
//! what it decides, purely, and what it writes down.
//!
//! ```text
//! asked, lifeline closed ─────────────────────────────► end
//! agent exits with code 0: it has ended its machine ──► end
//! agent dies ─┬─ attached ────────────────────────────► end
//!             └─ else ─► started again, ever later ───► end, after too many in a row
//! ```

use std::fmt;
use std::time::Duration;

use rustix::process::WaitStatus;
use serde::{Deserialize, Serialize};
use vmpool_core::agent::Clocks;

/// An agent that lived this long was a good one: deaths are counted anew.
const GOOD_LIFE: Duration = Duration::from_mins(1);

/// After so many deaths in a row the machine ends: its runner waits no longer
/// for it, and another machine may do better.
const MOST_DEATHS: u32 = 11;

/// The pause before the second restart in a row. The first comes at once, each
/// later one after twice the pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a supervisor does when its agent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnAgentDeath {
    /// The machine ends with its agent, and all its processes with it.
    #[default]
    EndMachine,
    /// The agent is started again: at the same address and on the same disk,
    /// where it finds the holders of its steps, which went on. Only one that
    /// dies again and again takes its machine with it.
    Restart,
}

impl OnAgentDeath {
    /// What becomes of a machine with these clocks. One that is attached is of
    /// use to nobody but the process that it is attached to, and that one knows
    /// what to do without it; any other may have a stage that must go on (P4).
    pub(super) fn of(clocks: &Clocks) -> Self {
        if clocks.attached {
            Self::EndMachine
        } else {
            Self::Restart
        }
    }
}

/// What a supervisor can see happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody sent it a signal.
    Asked { signal: u32, by: u32 },
    /// Nobody holds the other end of the lifeline any more.
    LifelineClosed,
    /// The agent's process ended.
    AgentEnded { exit: AgentExit, lived: Duration },
    /// The agent's process could not be started.
    NotStarted { reason: String },
}

/// What a supervisor does about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The machine ends.
    End(Ending),
    /// The agent is started again after this pause.
    RestartAfter(Duration),
}

/// The deaths of a machine's agents, and what follows from them.
#[derive(Debug)]
pub(super) struct Deaths {
    policy: OnAgentDeath,
    in_a_row: u32,
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
    /// Its agent died again whenever it was started again.
    AgentKeptDying {
        /// How it ended at last.
        last: AgentExit,
        /// How often it had been started again, in a row.
        restarts: u32,
    },
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

impl Deaths {
    pub(super) fn new(policy: OnAgentDeath) -> Self {
        Self {
            policy,
            in_a_row: 0,
        }
    }

    /// Whether the machine ends by this event, and why.
    pub(super) fn react(&mut self, event: Event) -> Reaction {
        let (ending, lived) = match event {
            Event::Asked { signal, by } => return Reaction::End(Ending::Asked { signal, by }),
            Event::LifelineClosed => return Reaction::End(Ending::LifelineClosed),
            // It was told to stop, or its rules have ended the machine.
            Event::AgentEnded {
                exit: exit @ AgentExit::Exited(0),
                ..
            } => return Reaction::End(Ending::AgentEnded(exit)),
            Event::AgentEnded { exit, lived } => (Ending::AgentEnded(exit), lived),
            Event::NotStarted { reason } => (Ending::Failed { reason }, Duration::ZERO),
        };
        if self.policy == OnAgentDeath::EndMachine {
            return Reaction::End(ending);
        }
        if lived >= GOOD_LIFE {
            self.in_a_row = 0;
        }
        let restarts = self.in_a_row;
        self.in_a_row += 1;
        if self.in_a_row < MOST_DEATHS {
            return Reaction::RestartAfter(pause(restarts));
        }
        Reaction::End(match ending {
            Ending::AgentEnded(last) => Ending::AgentKeptDying { last, restarts },
            other => other,
        })
    }
}

/// The pause before an agent is started again that was so often already.
fn pause(restarts: u32) -> Duration {
    let doubled = restarts.checked_sub(1).map(|times| 2_u32.pow(times));
    doubled.map_or(Duration::ZERO, |times| {
        (FIRST_PAUSE * times).min(LONGEST_PAUSE)
    })
}

impl AgentExit {
    /// Reads a wait status; `None` for one that is no end.
    pub(super) fn of(status: WaitStatus) -> Option<Self> {
        let killed = || status.terminating_signal().map(Self::Killed);
        status.exit_status().map(Self::Exited).or_else(killed)
    }
}

impl fmt::Display for AgentExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// What happened to the agent, for the machine's console.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { .. } => f.write_str("it is asked to end"),
            Self::LifelineClosed => f.write_str("the process it was attached to is gone"),
            Self::AgentEnded { exit, .. } => write!(f, "its agent {exit}"),
            Self::NotStarted { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { signal, by } => {
                write!(f, "process {by} asked for its end (signal {signal})")
            }
            Self::LifelineClosed => f.write_str("the process it was attached to is gone"),
            Self::AgentEnded(exit) => write!(f, "its agent {exit}"),
            Self::AgentKeptDying { last, restarts } => write!(
                f,
                "its agent {last}, after it had been started again {restarts} times in vain"
            ),
            Self::Failed { reason } => write!(f, "its supervisor failed: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: AgentExit = AgentExit::Killed(9);

    fn death(exit: AgentExit) -> Event {
        let lived = Duration::from_millis(1);
        Event::AgentEnded { exit, lived }
    }

    #[test]
    fn an_attached_machine_ends_with_its_agent() {
        let mut clocks = Clocks {
            attached: true,
            ..Clocks::default()
        };
        let mut deaths = Deaths::new(OnAgentDeath::of(&clocks));
        let ends = Reaction::End(Ending::AgentEnded(KILLED));
        assert_eq!(deaths.react(death(KILLED)), ends);
        clocks.attached = false;
        assert_eq!(OnAgentDeath::of(&clocks), OnAgentDeath::Restart);
    }

    #[test]
    fn p4_an_agent_is_started_again_at_once_then_ever_later_and_not_for_ever() {
        let mut deaths = Deaths::new(OnAgentDeath::Restart);
        let pauses: Vec<_> = (1..MOST_DEATHS)
            .map(|n| match deaths.react(death(AgentExit::Exited(101))) {
                Reaction::RestartAfter(pause) => pause.as_millis(),
                Reaction::End(ending) => panic!("it ended after {n} deaths: {ending}"),
            })
            .collect();
        let expected = [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000];
        assert_eq!(pauses, expected);
        let Reaction::End(ending) = deaths.react(death(KILLED)) else {
            panic!("it is started for ever");
        };
        assert_eq!(
            ending.to_string(),
            "its agent was killed by signal 9, after it had been started again 10 times in vain"
        );
    }

    #[test]
    fn deaths_are_counted_anew_after_a_good_life() {
        let mut deaths = Deaths::new(OnAgentDeath::Restart);
        for _ in 1..MOST_DEATHS {
            deaths.react(death(KILLED));
        }
        let late = Event::AgentEnded {
            exit: KILLED,
            lived: GOOD_LIFE,
        };
        let at_once = Reaction::RestartAfter(Duration::ZERO);
        assert_eq!(deaths.react(late), at_once);
    }

    #[test]
    fn an_agent_that_ends_by_itself_or_is_asked_to_is_not_started_again() {
        let mut deaths = Deaths::new(OnAgentDeath::Restart);
        for event in [
            death(AgentExit::Exited(0)),
            Event::LifelineClosed,
            Event::Asked { signal: 15, by: 7 },
        ] {
            assert!(matches!(deaths.react(event), Reaction::End(_)));
        }
    }

    #[test]
    fn what_can_t_be_started_is_tried_again_and_its_reason_told() {
        let mut deaths = Deaths::new(OnAgentDeath::Restart);
        let failed = || Event::NotStarted {
            reason: "no memory".into(),
        };
        for _ in 1..MOST_DEATHS {
            let again = deaths.react(failed());
            assert!(matches!(again, Reaction::RestartAfter(_)), "{again:?}");
        }
        let reason = "no memory".to_owned();
        let ends = Reaction::End(Ending::Failed { reason });
        assert_eq!(deaths.react(failed()), ends);
    }
}
