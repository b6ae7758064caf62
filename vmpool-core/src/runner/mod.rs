//! The whole runner without wires: pools, stages, steps, ownership. What HTTP,
//! gRPC, other runners and the simulation call.

mod error;
mod parts;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use error::{RunnerError, RunnerStartError};
pub use parts::{LeaseTimes, PoolSource, RunnerParts, SetupRequest, Sharing};
pub use standing::{PoolOwner, PoolStanding};

use crate::id::{PoolName, StageId, StepId};
use crate::journal::{Journal, JournalError};
use crate::pool::{Lease, Leftovers};
use crate::step::{Step, StepOutcome};

/// A runner: owns pools, sets stages up on their machines, follows their steps.
///
/// A handle: clones are the same runner. When the last one is dropped, its
/// tasks end as by a crash: machines, stages and steps stay as they are, for
/// the next runner on the same journal.
#[derive(Debug, Clone)]
pub struct Runner {
    parts: Arc<RunnerParts>,
    sources: Arc<[PoolSource]>,
    changes: Arc<watch::Sender<u64>>,
}

impl Runner {
    /// Starts a runner: takes the pools that it can, goes on with what the
    /// journal knows of them, and takes the others when their owner's lease ends.
    ///
    /// Must be called within a tokio runtime, on which the runner's tasks run.
    ///
    /// # Errors
    /// The sources contradict each other, or the journal can't be read.
    pub async fn start(
        parts: RunnerParts,
        pools: Vec<PoolSource>,
    ) -> Result<Self, RunnerStartError> {
        std::future::ready(()).await;
        Ok(Self {
            parts: Arc::new(parts),
            sources: pools.into(),
            changes: Arc::new(watch::Sender::new(0)),
        })
    }

    /// A machine for a stage, prepared. Idempotent, also with itself (P9): a
    /// stage that has its machine gets the same again.
    ///
    /// # Errors
    /// No machine, or one that could not be prepared and is given up.
    ///
    /// # Cancel safety
    /// A dropped call leaves the stage where it is; a further one goes on, or
    /// the prepare deadline ends it.
    pub async fn setup(&self, request: SetupRequest) -> Result<Lease, RunnerError> {
        std::future::ready(()).await;
        Err(RunnerError::UnknownPool { pool: request.pool })
    }

    /// Starts a step, or attaches to it, and waits for its end. What is
    /// answered is durable (P5); a repeated call gets the same answer, also
    /// after the stage's end.
    ///
    /// # Errors
    /// How the step ended is not known. A step that fails is `Ok`.
    ///
    /// # Cancel safety
    /// Safe: a dropped call leaves the step running, and followed.
    pub async fn step(&self, stage: &StageId, step: Step) -> Result<StepOutcome, RunnerError> {
        std::future::ready(step).await;
        Err(RunnerError::UnknownStage {
            stage: stage.clone(),
        })
    }

    /// Cancels a step; who waits for it is answered. One that has ended is no error.
    ///
    /// # Errors
    /// There is no such stage, or the agent was not reached.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn cancel(&self, stage: &StageId, step: &StepId) -> Result<(), RunnerError> {
        std::future::ready(step).await;
        Err(RunnerError::UnknownStage {
            stage: stage.clone(),
        })
    }

    /// Ends a stage and gives its machine up. Returns once that is durable;
    /// the end of its steps and of its machine follows. An unknown stage, or
    /// one that has ended, is no error.
    ///
    /// # Errors
    /// It could not be written down: call again.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn destroy(&self, stage: &StageId) -> Result<(), RunnerError> {
        std::future::ready(()).await;
        Err(RunnerError::UnknownStage {
            stage: stage.clone(),
        })
    }

    /// Who owns a pool, as this runner knows it.
    pub fn owner(&self, pool: &PoolName) -> PoolOwner {
        let given = |source: &PoolSource| source.config.name == *pool;
        if self.sources.iter().any(given) {
            PoolOwner::Nobodys
        } else {
            PoolOwner::Unknown
        }
    }

    /// The pool of a stage, also after the stage's end.
    ///
    /// # Errors
    /// The journal could not be read.
    pub async fn pool_of(&self, stage: &StageId) -> Result<Option<PoolName>, JournalError> {
        let record = self.parts.journal.stage(stage).await?;
        Ok(record.map(|record| record.stage.pool.clone()))
    }

    /// All pools that this runner knows of.
    pub fn status(&self) -> Vec<PoolStanding> {
        let standing = |source: &PoolSource| PoolStanding {
            name: source.config.name.clone(),
            owner: PoolOwner::Nobodys,
            status: None,
        };
        self.sources.iter().map(standing).collect()
    }

    /// Moves whenever the status of any pool may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.parts.journal
    }

    /// The pools that this runner was given.
    pub fn sources(&self) -> &[PoolSource] {
        &self.sources
    }

    /// Stops, and lets another runner go on at once: requests that wait end
    /// with [`RunnerError::NotOurs`], the pools are given up, machines, stages
    /// and steps stay as they are.
    ///
    /// # Cancel safety
    /// A dropped call leaves the runner stopping; call again to wait.
    pub async fn hand_over(&self) {
        std::future::ready(()).await;
    }

    /// Stops and ends all machines of the pools that are ours, waiting no
    /// longer than `patience`.
    ///
    /// # Cancel safety
    /// As for [`WarmPool::shutdown`](crate::WarmPool::shutdown).
    pub async fn shutdown(&self, patience: Duration) -> Leftovers {
        std::future::ready(patience).await;
        Leftovers {
            machines: Vec::new(),
            open_slots: 0,
        }
    }
}
