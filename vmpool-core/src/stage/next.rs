//! The transition function of a stage.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Tried;
use crate::id::StepId;
use crate::pool::RequestHash;
use crate::step::StepOutcome;

/// Where a stage is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// It has its machine, which is not prepared yet.
    // Journals of 0.1 have the second name for a setup that is on its way.
    #[serde(alias = "preparing")]
    Claimed,
    /// Its machine could not be prepared and is given up: it waits for the next.
    Waiting,
    /// Steps may run.
    Prepared,
    /// Over; its machine is drained.
    Ended(StageEnd),
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageEnd {
    /// It gave its machine up.
    Released,
    /// Its machine was lost; the provider's or the link's reason.
    MachineLost(Arc<str>),
    /// It was not prepared in time. What is prepared can't end so: the
    /// deadline may pass while that is still being written down.
    Unprepared,
    /// It was over a deadline; which.
    OverTime(Arc<str>),
    /// The pool ended it; why.
    Stopped(Arc<str>),
}

impl fmt::Display for StageEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released => f.write_str("released"),
            Self::MachineLost(why) => write!(f, "its machine was lost: {why}"),
            Self::Unprepared => f.write_str("it was not prepared in time"),
            Self::OverTime(which) => write!(f, "over time: {which}"),
            Self::Stopped(why) => write!(f, "stopped: {why}"),
        }
    }
}

impl StageState {
    /// The stage is over.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// The name in events and statuses.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Waiting => "waiting",
            Self::Prepared => "prepared",
            Self::Ended(_) => "ended",
        }
    }
}

/// A keyed hash of a step's content (P5).
pub type StepHash = RequestHash;

/// What happens to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageEvent {
    /// The machine has taken the setup.
    Prepared,
    /// The machine could not be prepared: it is given up, the stage is not.
    Unfit(Tried),
    /// The stage gets the next machine.
    Claim,
    /// A step is about to be sent. Durable before it is.
    StepSent {
        /// The step.
        step: StepId,
        /// What it is.
        hash: StepHash,
    },
    /// A step's result. Durable before it is answered.
    StepEnded {
        /// The step.
        step: StepId,
        /// Its result.
        outcome: StepOutcome,
    },
    /// It is over.
    End(StageEnd),
}

/// An event that is not possible in a stage's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stage that is {state} can't {event}")]
pub struct Refused {
    /// The state, which stays.
    pub state: &'static str,
    /// What was to happen.
    pub event: &'static str,
}

/// The state that `event` leads to from `state`.
///
/// Every call may be repeated (P9): preparing again and preparing what is
/// prepared are allowed. A stage that ended stays as it ended.
///
/// # Errors
/// The event is not possible; nothing changes.
pub fn next(state: &StageState, event: &StageEvent) -> Result<StageState, Refused> {
    use StageEvent as E;
    use StageState as S;

    let refused = |event| {
        Err(Refused {
            state: state.as_str(),
            event,
        })
    };
    match (state, event) {
        (S::Claimed, E::Prepared)
        | (S::Prepared, E::Prepared | E::StepSent { .. } | E::StepEnded { .. }) => Ok(S::Prepared),
        (S::Claimed, E::Unfit(_)) => Ok(S::Waiting),
        (S::Waiting, E::Claim) => Ok(S::Claimed),
        (S::Prepared, E::End(StageEnd::Unprepared)) => refused("end as not prepared"),
        (S::Claimed | S::Waiting | S::Prepared, E::End(end)) => Ok(S::Ended(end.clone())),

        (S::Waiting | S::Ended(_), E::Prepared) => refused("become prepared"),
        (S::Waiting | S::Prepared | S::Ended(_), E::Unfit(_)) => {
            refused("wait for another machine")
        }
        (S::Claimed | S::Prepared | S::Ended(_), E::Claim) => refused("get another machine"),
        (S::Claimed | S::Waiting | S::Ended(_), E::StepSent { .. }) => refused("run a step"),
        (S::Claimed | S::Waiting | S::Ended(_), E::StepEnded { .. }) => {
            refused("take a step's result")
        }
        (S::Ended(_), E::End(_)) => refused("end again"),
    }
}
