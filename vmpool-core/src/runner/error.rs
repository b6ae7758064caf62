//! Why a runner could not do what it was asked.

use crate::executor::ExecutorError;
use crate::id::{PoolName, StageId, StepId};
use crate::journal::{Holder, JournalError};
use crate::pool::{AcquireError, AttachError, HoldError, NoteError, StartError};
use crate::stage::StageError;

/// Why a runner could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// Another runner owns the pool, or none does at the moment: the same
    /// request may be made there, or here again later (P9).
    #[error("pool {pool} is not owned by this runner{}", Held(.holder.as_ref()))]
    NotOurs {
        /// The pool.
        pool: PoolName,
        /// Who owns it, if somebody does.
        holder: Option<Holder>,
    },
    /// No runner was told of such a pool.
    #[error("there is no pool {pool}")]
    UnknownPool {
        /// The pool.
        pool: PoolName,
    },
    /// The deployment has no such stage.
    #[error("there is no stage {stage}")]
    UnknownStage {
        /// The stage.
        stage: StageId,
    },
    /// The stage has no such step: nobody asked for it.
    #[error("stage {stage} has no step {step}")]
    UnknownStep {
        /// The stage.
        stage: StageId,
        /// The step.
        step: StepId,
    },
    /// No machine.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The stage's machine is not to be had any more.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The machine, its agent, or the record of what happens there.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The stage is over: none of the machines that it got could be prepared.
    #[error("stage {stage}: {reason}")]
    Unprepared {
        /// The stage.
        stage: StageId,
        /// What each of them failed at, and why there was no further one.
        reason: String,
    },
    /// A stage's machine is not kept.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The journal could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// As many steps run as this runner follows at the same time.
    #[error("stage {stage}: {most} steps run already, which is the most of a runner")]
    TooManySteps {
        /// The stage of the step that was not taken.
        stage: StageId,
        /// The most.
        most: usize,
    },
}

impl RunnerError {
    /// What a runner also sees whose pool another has taken over: a journal that
    /// takes nothing of it, an agent that obeys a higher term.
    pub(super) fn may_be_a_take_over(&self) -> bool {
        matches!(
            self,
            Self::Journal(_)
                | Self::Hold(HoldError::Journal { .. })
                | Self::Acquire(AcquireError::Journal { .. } | AcquireError::Stopped { .. })
                | Self::Attach(AttachError::Journal { .. })
                | Self::Stage(
                    StageError::Note(NoteError::Journal { .. })
                        | StageError::Release(_)
                        | StageError::Executor(ExecutorError::Refused { .. })
                )
        )
    }
}

impl From<NoteError> for RunnerError {
    /// A stage that has no machine is told of in the same way whatever was asked of it.
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::Unknown { stage } => Self::Attach(AttachError::Unknown { stage }),
            NoteError::Over { stage, reason } => Self::Attach(AttachError::Over { stage, reason }),
            error => Self::Stage(error.into()),
        }
    }
}

struct Held<'a>(Option<&'a Holder>);

impl std::fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(holder) => write!(f, " but by {}", holder.runner),
            None => Ok(()),
        }
    }
}

/// Why a runner did not start.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerStartError {
    /// Two sources name one pool.
    #[error("pool {pool} is given twice")]
    TwicePool {
        /// The pool.
        pool: PoolName,
    },
    /// The times of a lease don't fit together.
    #[error("lease times: {reason}")]
    LeaseTimes {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// The journal could not say whose a pool is.
    #[error("take pool {pool}")]
    Take {
        /// The pool.
        pool: PoolName,
        /// What the journal said.
        #[source]
        source: JournalError,
    },
    /// A pool that is ours did not start.
    #[error(transparent)]
    Pool(#[from] StartError),
}
