//! A stage as types: [`Stage<Claimed>`] can only be initialised,
//! [`Stage<Prepared>`] can execute steps, and cleanup consumes either.
//!
//! ```compile_fail
//! # use vmpool_core::{stage::{Claimed, Stage}, LogSink, Step};
//! # async fn f(stage: Stage<Claimed>, step: &Step, log: &mut dyn LogSink) {
//! stage.execute(step, log).await; // not before init
//! # }
//! ```
//!
//! ```compile_fail
//! # use vmpool_core::{stage::{Prepared, Stage}, LogSink, Step};
//! # async fn f(stage: Stage<Prepared>, step: &Step, log: &mut dyn LogSink) {
//! stage.cleanup().await;
//! stage.execute(step, log).await; // not after cleanup
//! # }
//! ```

use std::sync::Arc;
use std::time::Duration;

use super::next::StageEvent;
use crate::executor::{ExecutorError, LogSink, StepExecutor};
use crate::id::StepId;
use crate::pool::{Lease, NoteError, Pool, ReleaseError};
use crate::step::{StageSetup, Step, StepOutcome};

/// How long the agent may take to end the stage's processes before the machine
/// is given up as it is.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(60);

/// Phase: the stage has its machine.
#[derive(Debug)]
#[non_exhaustive]
pub struct Claimed;

/// Phase: the machine has taken the setup.
#[derive(Debug)]
#[non_exhaustive]
pub struct Prepared;

/// A stage in one of its phases.
///
/// It owns the release of its machine: one that is dropped hands that to the
/// pool's worker. What it writes down is durable before it is acted on, or
/// answered (P5).
#[derive(Debug)]
pub struct Stage<Phase> {
    held: Held,
    #[expect(dead_code, reason = "the phase is only a type")]
    phase: Phase,
}

/// Why a stage could not go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The machine or its agent.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// What happened could not be written down.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The release could not be written down; the pool's worker goes on with it.
    #[error(transparent)]
    Release(#[from] ReleaseError),
}

impl<Phase> Stage<Phase> {
    /// The stage's right to its machine.
    pub fn lease(&self) -> &Lease {
        &self.held.lease
    }

    /// Ends the stage: no process of it is left, its machine is given up.
    /// Returns once the release is durable; the machine's end follows.
    ///
    /// # Errors
    /// The release could not be written down; the pool's worker goes on with it.
    ///
    /// # Cancel safety
    /// Safe: a dropped call leaves the release to the pool's worker.
    pub async fn cleanup(self) -> Result<(), StageError> {
        let held = &self.held;
        let ended = held.executor.cleanup(&held.lease);
        match tokio::time::timeout(CLEANUP_PATIENCE, ended).await {
            Ok(Ok(())) => {}
            // The machine's end takes what is left.
            Ok(Err(error)) => {
                tracing::debug!(stage = %held.lease.stage, %error, "the agent's cleanup failed");
            }
            Err(_) => {
                tracing::warn!(stage = %held.lease.stage, "the agent's cleanup took too long");
            }
        }
        held.pool.release(&held.lease.stage).await?;
        Ok(())
    }
}

impl Stage<Claimed> {
    /// A stage on the machine that it was given.
    pub fn new(lease: Lease, pool: Arc<dyn Pool>, executor: Arc<dyn StepExecutor>) -> Self {
        Self {
            held: Held {
                lease,
                pool,
                executor,
            },
            phase: Claimed,
        }
    }

    /// Prepares the machine.
    ///
    /// # Errors
    /// The machine is not prepared; it is given up.
    ///
    /// # Cancel safety
    /// A dropped call gives the machine up.
    pub async fn init(self, setup: &StageSetup) -> Result<Stage<Prepared>, StageError> {
        let Held {
            lease,
            pool,
            executor,
        } = &self.held;
        // The claim is durable; that its setup is sent rests on that.
        executor.prepare(lease, setup).await?;
        pool.note(&lease.stage, StageEvent::Prepared).await?;
        Ok(Stage {
            held: self.held,
            phase: Prepared,
        })
    }
}

impl Stage<Prepared> {
    /// A stage that was prepared before, by this runner or another.
    pub fn attached(lease: Lease, pool: Arc<dyn Pool>, executor: Arc<dyn StepExecutor>) -> Self {
        Self {
            held: Held {
                lease,
                pool,
                executor,
            },
            phase: Prepared,
        }
    }

    /// Runs a step, or attaches to it, until it ends; its log goes to `log`.
    /// Steps of one stage may run at the same time.
    ///
    /// # Errors
    /// How the step ended is not known. A step that fails is `Ok`.
    ///
    /// # Cancel safety
    /// A dropped call leaves the step running; a further one attaches.
    pub async fn execute(
        &self,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, StageError> {
        let Held {
            lease,
            pool,
            executor,
        } = &self.held;
        let hash = pool.keyed_hash(&step.content());
        let sent = StageEvent::StepSent {
            step: step.id.clone(),
            hash,
        };
        pool.note(&lease.stage, sent).await?;
        let outcome = executor.run(lease, step, log).await?;
        let ended = StageEvent::StepEnded {
            step: step.id.clone(),
            outcome: outcome.clone(),
        };
        pool.note(&lease.stage, ended).await?;
        Ok(outcome)
    }

    /// Cancels a step; its [`Stage::execute`] then ends.
    ///
    /// # Errors
    /// The agent was not reached.
    pub async fn cancel(&self, step: &StepId) -> Result<(), StageError> {
        Ok(self.held.executor.cancel(&self.held.lease, step).await?)
    }
}

/// The machine and who can give it up.
struct Held {
    lease: Lease,
    pool: Arc<dyn Pool>,
    executor: Arc<dyn StepExecutor>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Drop for Held {
    /// A release that was made before is no error, so this needs to know nothing.
    fn drop(&mut self) {
        self.pool.release_soon(&self.lease.stage);
    }
}
