//! The fence: the highest term and the one stage that this machine has
//! accepted (P2).
//!
//! Invariants:
//! - The term never sinks, the stage never changes.
//! - Both count as accepted at once, so nothing lower or other comes in while
//!   they are written; nothing is done under them until they are durable.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{Content, Refusal};
use crate::id::{StageId, Term};

/// Tells one boot of a machine from another (Linux: `/proc/sys/kernel/random/boot_id`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// What the machine must never forget. Written with fsync, as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceRecord {
    /// Raised by each change: tells which of two records is newer.
    pub revision: u64,
    /// The boot whose clock [`StageClaim::deadline`] is read on.
    pub boot: BootId,
    /// The highest term accepted.
    pub term: Option<Term>,
    /// The one stage accepted.
    pub stage: Option<StageClaim>,
}

/// The stage that a machine serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageClaim {
    /// Its id.
    pub id: StageId,
    /// What it was prepared with.
    pub content: Content,
    /// When it ends at the latest, since boot.
    pub deadline: Duration,
}

/// The fence, and how much of it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fence {
    record: FenceRecord,
    /// The highest revision known to be durable.
    synced: u64,
    /// The revision that brought the term.
    term_since: u64,
    /// The revision that brought the stage.
    stage_since: u64,
}

impl Fence {
    /// The fence of a machine that nobody has called yet.
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            record: FenceRecord {
                revision: 0,
                boot,
                term: None,
                stage: None,
            },
            synced: 0,
            term_since: 0,
            stage_since: 0,
        }
    }

    /// The fence as it was last written.
    pub(super) fn restore(record: FenceRecord) -> Self {
        let synced = record.revision;
        Self {
            record,
            synced,
            term_since: synced,
            stage_since: synced,
        }
    }

    pub(super) fn term(&self) -> Option<Term> {
        self.record.term
    }

    pub(super) fn boot(&self) -> &BootId {
        &self.record.boot
    }

    pub(super) fn stage(&self) -> Option<&StageClaim> {
        self.record.stage.as_ref()
    }

    /// Takes a runner's term: the same again, or a higher one.
    pub(super) fn open(&mut self, asked: Term) -> Result<(), Refusal> {
        match self.record.term {
            Some(ruling) if asked < ruling => Err(Refusal::Fenced { asked, ruling }),
            Some(ruling) if asked == ruling => Ok(()),
            _ => {
                self.record.term = Some(asked);
                self.term_since = self.change();
                Ok(())
            }
        }
    }

    /// Only the term that rules, and only once it is durable.
    pub(super) fn check(&self, asked: Term) -> Result<(), Refusal> {
        match self.record.term {
            Some(ruling) if asked < ruling => Err(Refusal::Fenced { asked, ruling }),
            Some(ruling) if asked == ruling && self.term_since <= self.synced => Ok(()),
            _ => Err(Refusal::NotOpened { asked }),
        }
    }

    /// The claim of the stage that a call names.
    pub(super) fn claim_of(&self, asked: &StageId) -> Result<&StageClaim, Refusal> {
        let claim = self.stage().ok_or_else(|| Refusal::UnknownStage {
            asked: asked.clone(),
        })?;
        if claim.id == *asked {
            Ok(claim)
        } else {
            Err(Refusal::OtherStage {
                asked: asked.clone(),
                ours: claim.id.clone(),
            })
        }
    }

    /// Gives the machine to its stage. Only where it has none.
    pub(super) fn claim(&mut self, claim: StageClaim) {
        debug_assert!(
            self.record.stage.is_none(),
            "a machine serves one stage, ever"
        );
        self.record.stage = Some(claim);
        self.stage_since = self.change();
    }

    /// Carries the stage over a reboot: its deadline, read on the new boot's
    /// clock, is `deadline`.
    pub(super) fn rebase(&mut self, boot: BootId, deadline: Duration) {
        self.record.boot = boot;
        if let Some(claim) = &mut self.record.stage {
            claim.deadline = deadline;
            self.change();
        }
    }

    /// A record of this revision is durable.
    pub(super) fn synced(&mut self, revision: u64) {
        self.synced = self.synced.max(revision.min(self.record.revision));
    }

    /// The stage's id can't be forgotten any more.
    pub(super) fn stage_is_durable(&self) -> bool {
        self.stage_since <= self.synced
    }

    /// What is to be written, unless all of it is known to be durable.
    pub(super) fn unsynced(&self) -> Option<FenceRecord> {
        (self.synced < self.record.revision).then(|| self.record.clone())
    }

    fn change(&mut self) -> u64 {
        self.record.revision += 1;
        self.record.revision
    }
}
