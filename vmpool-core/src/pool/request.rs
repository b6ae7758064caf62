//! What a caller asks of a pool, and what it is told where it gets nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{MachineId, PoolName, StageId};

/// A stage that needs a machine.
#[derive(Debug, Clone)]
pub struct AcquireRequest {
    /// The stage. A retry with the same id gets the same machine.
    pub stage: StageId,
    /// Waits at most this long; `None`: the pool's own.
    pub wait: Option<Duration>,
    /// The stage lasts at most this long; `None`: the pool's own.
    pub lasts: Option<Duration>,
    /// Where a machine is launched for it, should one be launched: the first
    /// order on its behalf is for that zone, if the pool has it and there was
    /// capacity lately. A machine that is ready elsewhere is as good.
    pub zone: Option<Arc<str>>,
    /// Keyed hash of the whole request: a retry with another one is a conflict (P5).
    pub hash: RequestHash,
}

impl AcquireRequest {
    /// A request with the pool's own deadlines.
    pub fn new(stage: impl Into<StageId>) -> Self {
        Self {
            stage: stage.into(),
            wait: None,
            lasts: None,
            zone: None,
            hash: RequestHash::default(),
        }
    }
}

/// A keyed hash of what was asked for: tells retries from other requests
/// without keeping their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct RequestHash(pub [u8; 16]);

/// Why a stage got no machine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// None came in time.
    #[error("no machine of pool {pool} for stage {stage} within {waited:.1?}{}", Tried(.evidence))]
    Deadline {
        /// The pool.
        pool: PoolName,
        /// The stage.
        stage: StageId,
        /// How long it waited.
        waited: Duration,
        /// What went wrong meanwhile, and last what came and why no more did.
        evidence: Vec<Evidence>,
    },
    /// Too many wait already.
    #[error("pool {pool} has {waiting} requests waiting already")]
    QueueFull {
        /// The pool.
        pool: PoolName,
        /// How many wait.
        waiting: usize,
    },
    /// The pool takes no requests: it drains, shuts down, or stopped at a fault
    /// that a person must mend.
    #[error("pool {pool} takes no requests: {reason}{}", Tried(.evidence))]
    Stopped {
        /// The pool.
        pool: PoolName,
        /// Why.
        reason: String,
        /// What led to it.
        evidence: Vec<Evidence>,
    },
    /// A person has said that the pool takes no new stages for now. Another
    /// pool may be asked.
    #[error("pool {pool} takes no new stages: {told}")]
    Cordoned {
        /// The pool.
        pool: PoolName,
        /// Who said so, when, and why.
        told: String,
    },
    /// The stage had its machine, and that is over: a stage gets one, ever (P2).
    #[error("stage {stage} is over: {reason}")]
    StageOver {
        /// The stage.
        stage: StageId,
        /// How it ended.
        reason: String,
    },
    /// The same stage id was used for another request.
    #[error("stage {stage} was asked for before with another {field}")]
    Conflict {
        /// The stage.
        stage: StageId,
        /// What differs.
        field: &'static str,
    },
    /// The journal could not take the claim.
    #[error("write down the claim of stage {stage}: {reason}")]
    Journal {
        /// The stage.
        stage: StageId,
        /// What the journal said.
        reason: String,
    },
}

/// Why there was no machine at once.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// None is ready, or others wait for it already.
    #[error("pool {pool} has no machine ready")]
    NoneReady {
        /// The pool.
        pool: PoolName,
    },
    /// As for a request that may wait.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
}

/// Why a stage can't be attached to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No such stage in this pool.
    #[error("stage {stage} has no machine")]
    Unknown {
        /// The stage.
        stage: StageId,
    },
    /// It is over.
    #[error("stage {stage} is over: {reason}")]
    Over {
        /// The stage.
        stage: StageId,
        /// How it ended.
        reason: String,
    },
    /// The journal could not be read.
    #[error("read stage {stage}: {reason}")]
    Journal {
        /// The stage.
        stage: StageId,
        /// What the journal said.
        reason: String,
    },
}

/// Why a machine was not given up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("write down the release of stage {stage}: {reason}")]
pub struct ReleaseError {
    /// The stage.
    pub stage: StageId,
    /// What the journal said.
    pub reason: String,
}

/// Why a stage's event was not written down.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// No such stage in this pool.
    #[error("stage {stage} has no machine")]
    Unknown {
        /// The stage.
        stage: StageId,
    },
    /// It is over.
    #[error("stage {stage} is over: {reason}")]
    Over {
        /// The stage.
        stage: StageId,
        /// How it ended.
        reason: String,
    },
    /// Not possible in the stage's state.
    #[error("stage {stage}: {reason}")]
    Refused {
        /// The stage.
        stage: StageId,
        /// The stage's state, and what was not possible in it.
        reason: String,
    },
    /// The journal could not take it.
    #[error("write down what happened to stage {stage}: {reason}")]
    Journal {
        /// The stage.
        stage: StageId,
        /// What the journal said.
        reason: String,
        /// It may have taken it all the same, or may yet: the same event, noted
        /// again until that succeeds or is refused, makes it certain.
        in_doubt: bool,
    },
}

impl From<AttachError> for NoteError {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Unknown { stage } => Self::Unknown { stage },
            AttachError::Over { stage, reason } => Self::Over { stage, reason },
            AttachError::Journal { stage, reason } => Self::Journal {
                stage,
                reason,
                in_doubt: false,
            },
        }
    }
}

/// Something that went wrong while a request waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// When.
    pub at: Timestamp,
    /// The machine, where there was one already.
    pub machine: Option<MachineId>,
    /// What was attempted and what was said, the console's last lines included.
    pub text: String,
}

struct Tried<'a>(&'a [Evidence]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, before)) = self.0.split_last() else {
            return Ok(());
        };
        write!(f, "; last: {}", last.text)?;
        // What holds a pool off does not say what the provider said.
        match before.last().filter(|before| before.text != last.text) {
            Some(before) => write!(f, "; before that: {}", before.text),
            None => Ok(()),
        }
    }
}
