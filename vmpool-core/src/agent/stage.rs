//! How far the machine's one stage is.
//!
//! ```text
//!            fence durable        done
//! accepted ───────────────► preparing ──► prepared ─┐
//!    │                        │   ▲                 │ cleanup, or the deadline
//!    │                 failed ▼   │ asked again     ▼
//!    │                  prepare failed ────────► stopping ──► cleaning up ──► ended
//!    └─────────────────────────────────────────────▲            │    ▲
//!                                                         failed ▼    │ asked again
//!                                                             unclean ┘
//! ```
//!
//! One that is held stays at stopping until its time is over, or a clean-up is
//! asked for.
//!
//! Invariants: a stage that has ended never runs a step again, and it is cleaned
//! up only when no step of it and no preparation is left running.

use std::time::Duration;

use crate::agent::StageRecord;
use crate::id::StageId;

/// How far the machine's stage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagePhase {
    /// Taken, and not durable yet.
    Accepted,
    /// Being prepared.
    Preparing,
    /// Not prepared; a further call tries again. Settles a preparation.
    PrepareFailed {
        /// Why.
        reason: String,
    },
    /// Runs steps. Settles a preparation.
    Prepared,
    /// Its steps are being ended.
    Stopping,
    /// What it has left is being removed.
    CleaningUp,
    /// Something of it is left; a further call tries again. Settles a clean-up.
    Unclean {
        /// What.
        reason: String,
    },
    /// Over, and nothing of it is left. Settles a clean-up.
    Ended,
}

impl StagePhase {
    /// It is over or ending: no step starts any more.
    pub fn has_ended(&self) -> bool {
        matches!(
            self,
            Self::Stopping | Self::CleaningUp | Self::Unclean { .. } | Self::Ended
        )
    }
}

/// The stage's progress. It means something once the fence has a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    phase: StagePhase,
    /// The driver is at [`Effect::Prepare`](crate::agent::Effect::Prepare).
    preparing: bool,
    prepared: bool,
    ended_at: Option<Duration>,
    /// How long the machine is kept after its end.
    held: Duration,
    /// The clean-up waits for that.
    holds: bool,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            phase: StagePhase::Accepted,
            preparing: false,
            prepared: false,
            ended_at: None,
            held: Duration::ZERO,
            holds: false,
        }
    }

    /// The stage that an earlier agent of this machine had. Without a record
    /// nothing tells that its preparation was finished.
    pub(super) fn restore(record: Option<&StageRecord>, has_steps: bool) -> Self {
        let prepared = has_steps || record.is_some_and(|record| record.prepared);
        let ended_at = record.and_then(|record| record.ended_at);
        let phase = match (ended_at, record) {
            (Some(_), Some(record)) if record.clean => StagePhase::Ended,
            (Some(_), _) => StagePhase::Stopping,
            (None, _) if prepared => StagePhase::Prepared,
            (None, _) => StagePhase::PrepareFailed {
                reason: "the agent restarted".into(),
            },
        };
        let held = record.map_or(Duration::ZERO, |record| record.held);
        Self {
            phase,
            preparing: false,
            prepared,
            ended_at,
            held,
            holds: !held.is_zero(),
        }
    }

    pub(super) fn phase(&self) -> &StagePhase {
        &self.phase
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.phase == StagePhase::Prepared
    }

    pub(super) fn ended_at(&self) -> Option<Duration> {
        self.ended_at
    }

    /// Keeps the machine so long after the stage's end.
    pub(super) fn hold(&mut self, lasts: Duration) {
        self.held = lasts;
        self.holds = !lasts.is_zero();
    }

    /// How long the machine is kept after the stage's end.
    pub(super) fn held(&self) -> Duration {
        self.held
    }

    /// When the clean-up begins that waits for it.
    pub(super) fn held_until(&self) -> Option<Duration> {
        let ended_at = self.ended_at.filter(|_| self.holds)?;
        Some(ended_at.saturating_add(self.held))
    }

    /// The clean-up waits no more.
    pub(super) fn let_go(&mut self) {
        self.holds = false;
    }

    /// The fence is durable: its preparation may begin. True if it is to.
    pub(super) fn durable(&mut self) -> bool {
        self.phase == StagePhase::Accepted && self.prepare()
    }

    /// Asked for again. True if a preparation is to begin.
    pub(super) fn prepare_again(&mut self) -> bool {
        matches!(self.phase, StagePhase::PrepareFailed { .. }) && self.prepare()
    }

    fn prepare(&mut self) -> bool {
        self.phase = StagePhase::Preparing;
        self.preparing = true;
        true
    }

    /// The preparation is over. True if the stage is prepared now.
    pub(super) fn prepared(&mut self, result: Result<(), String>) -> bool {
        self.preparing = false;
        if self.phase != StagePhase::Preparing {
            return false;
        }
        match result {
            Ok(()) => {
                self.prepared = true;
                self.phase = StagePhase::Prepared;
            }
            Err(reason) => self.phase = StagePhase::PrepareFailed { reason },
        }
        self.prepared
    }

    /// Ends the stage. True if it had not ended.
    pub(super) fn stop(&mut self, at: Duration) -> bool {
        let stops = !self.phase.has_ended();
        if stops {
            self.phase = StagePhase::Stopping;
            self.ended_at = Some(at);
        }
        stops
    }

    /// Reads the stage's end on the clock of a new boot. True if it had ended.
    pub(super) fn rebase(&mut self, now: Duration) -> bool {
        let ended = self.ended_at.is_some();
        self.ended_at = ended.then_some(now);
        ended
    }

    /// True if the clean-up is to begin: the stage has ended, and nothing runs.
    pub(super) fn clean_up(&mut self, steps_ended: bool) -> bool {
        let quiet = steps_ended && !self.preparing && !self.holds;
        let begins = self.phase == StagePhase::Stopping && quiet;
        if begins {
            self.phase = StagePhase::CleaningUp;
        }
        begins
    }

    /// Asked for again. True if a clean-up is to begin.
    pub(super) fn clean_up_again(&mut self) -> bool {
        let begins = matches!(self.phase, StagePhase::Unclean { .. });
        if begins {
            self.phase = StagePhase::CleaningUp;
        }
        begins
    }

    /// The clean-up is over. True if nothing is left.
    pub(super) fn cleaned_up(&mut self, result: Result<(), String>) -> bool {
        if self.phase != StagePhase::CleaningUp {
            return false;
        }
        self.phase = match result {
            Ok(()) => StagePhase::Ended,
            Err(reason) => StagePhase::Unclean { reason },
        };
        self.phase == StagePhase::Ended
    }

    pub(super) fn record(&self, id: &StageId) -> StageRecord {
        StageRecord {
            id: id.clone(),
            prepared: self.prepared,
            ended_at: self.ended_at,
            held: self.held,
            clean: self.phase == StagePhase::Ended,
        }
    }
}
