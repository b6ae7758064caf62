//! The dead-man's switch: a machine that nobody rules ends itself (P1, the
//! third reaper).
//!
//! At any moment exactly one of three clocks runs, and the fourth is a pipe:
//!
//! ```text
//! boot ──enrolled──► idle ──stage accepted──► stage ──► the machine ends
//!                    └ put off by each Open and Renew
//! attached: the parent's pipe closes ──────────────► the machine ends
//! ```
//!
//! Invariant: a clock that has been left never runs again.

use std::fmt;
use std::time::Duration;

use crate::agent::Clocks;

/// Why a machine ends itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// It was not enrolled in time.
    NotEnrolled {
        /// How long it had, from boot.
        within: Duration,
    },
    /// It had no stage, and no runner renewed it.
    Idle {
        /// For how long.
        since: Duration,
    },
    /// Its stage was over, and no runner came to end the machine.
    StageOver {
        /// How long after the stage.
        grace: Duration,
    },
    /// The process that it was attached to is gone.
    ParentClosed,
    /// What it must never forget can't be read: it could serve a second stage.
    StateLost {
        /// What was wrong.
        reason: String,
    },
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnrolled { within } => write!(f, "not enrolled within {within:?} of boot"),
            Self::Idle { since } => write!(f, "no stage and no renewal for {since:?}"),
            Self::StageOver { grace } => write!(f, "{grace:?} have passed since its stage's end"),
            Self::ParentClosed => f.write_str("the process that it is attached to is gone"),
            Self::StateLost { reason } => write!(f, "its state can't be read: {reason}"),
        }
    }
}

/// The clocks of one machine. All moments are since boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadMan {
    clocks: Clocks,
    /// The last enrolment, opening or renewal; `None` until it is enrolled.
    contact: Option<Duration>,
}

impl DeadMan {
    pub(super) fn new(clocks: Clocks) -> Self {
        Self {
            clocks,
            contact: None,
        }
    }

    pub(super) fn is_enrolled(&self) -> bool {
        self.contact.is_some()
    }

    /// A runner is there.
    pub(super) fn contact(&mut self, now: Duration) {
        self.contact = Some(now);
    }

    /// When the machine ends if nothing more happens, and why. `stage_end` is
    /// when its stage ended or will end at the latest, if it has one.
    pub(super) fn end(&self, stage_end: Option<Duration>) -> (Duration, EndReason) {
        let Clocks {
            boot,
            idle,
            stage_grace,
            ..
        } = self.clocks;
        match (self.contact, stage_end) {
            (None, _) => (boot, EndReason::NotEnrolled { within: boot }),
            (Some(last), None) => (last.saturating_add(idle), EndReason::Idle { since: idle }),
            (Some(_), Some(end)) => (
                end.saturating_add(stage_grace),
                EndReason::StageOver { grace: stage_grace },
            ),
        }
    }

    /// The machine ends with its parent.
    pub(super) fn is_attached(&self) -> bool {
        self.clocks.attached
    }
}
