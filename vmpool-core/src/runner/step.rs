//! A step's call: finds the step, or has it followed, and waits for its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reign::Reign;
use super::stages::{StageEntry, conflict};
use super::{Runner, RunnerError};
use crate::executor::ExecutorError;
use crate::id::{StageId, StepId};
use crate::journal::StageRecord;
use crate::stage::StepHash;
use crate::step::{Step, StepOutcome};

/// Steps that a runner follows at the same time. Those that it finds after a
/// restart are followed however many they are.
pub(super) const MOST_STEPS: usize = 10_000;

impl Runner {
    /// Waits for the end of a step that was asked for before, here or at
    /// another runner. Starts nothing, and need not know what the step runs.
    ///
    /// # Errors
    /// There is no such step, or how it ended is not known.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn attach_step(
        &self,
        stage: &StageId,
        step: &StepId,
    ) -> Result<StepOutcome, RunnerError> {
        if let Some((reign, entry)) = self.here(stage) {
            return reign.ours(entry.attach(step)).await;
        }
        let unknown = || RunnerError::UnknownStage {
            stage: stage.clone(),
        };
        let record = self.shared.record(stage).await?.ok_or_else(unknown)?;
        let row = record.steps.iter().find(|row| row.id == *step);
        match row.map(|row| row.outcome.clone()) {
            Some(Some(outcome)) => return Ok(outcome),
            None if record.stage.state.is_ended() => return Err(no_step(stage, step)),
            Some(None) | None => {}
        }
        let reign = self.shared.reign_or_owner(&record.stage.pool).await?;
        let attach = async {
            reign.read_in(stage).await?;
            match reign.stage(stage) {
                Some(entry) => entry.attach(step).await,
                None => Err(no_step(stage, step)),
            }
        };
        reign.ours(attach).await
    }
}

impl StageEntry {
    /// The end of one of the steps that are known here.
    async fn attach(&self, step: &StepId) -> Result<StepOutcome, RunnerError> {
        match self.asked(step) {
            Some(asked) => asked.answer().await,
            None => Err(no_step(&self.id, step)),
        }
    }
}

fn no_step(stage: &StageId, step: &StepId) -> RunnerError {
    RunnerError::UnknownStep {
        stage: stage.clone(),
        step: step.clone(),
    }
}

impl Reign {
    /// The end of a step of a stage that is here.
    pub(super) async fn step(
        self: &Arc<Self>,
        stage: &Arc<StageEntry>,
        step: Step,
        hash: StepHash,
    ) -> Result<StepOutcome, RunnerError> {
        let known = stage.step(&step.id).is_some();
        if !known && self.followed.load(Ordering::Relaxed) >= MOST_STEPS {
            return Err(RunnerError::TooManySteps {
                stage: stage.id.clone(),
                most: MOST_STEPS,
            });
        }
        let asked = stage.step_for(step, hash, self.parts.clock.now())?;
        if asked.new {
            self.follow(stage, asked.step.clone());
        }
        asked.answer().await
    }

    /// Cancels a step of a stage that is here.
    pub(super) async fn cancel(
        &self,
        stage: &StageEntry,
        step: &StepId,
    ) -> Result<(), RunnerError> {
        if stage.step(step).is_some_and(|step| step.has_ended()) {
            return Ok(());
        }
        match stage.lease() {
            Some(lease) => Ok(self.parts.executor.cancel(&lease, step).await?),
            None => Err(RunnerError::UnknownStage {
                stage: stage.id.clone(),
            }),
        }
    }
}

/// A step's end as the journal has it, for who gives the same step.
pub(super) fn recorded(
    record: &StageRecord,
    step: &StepId,
    hash: StepHash,
) -> Result<Option<StepOutcome>, ExecutorError> {
    let Some(row) = record.steps.iter().find(|row| row.id == *step) else {
        return Ok(None);
    };
    if row.hash.is_some_and(|known| known != hash) {
        return Err(conflict(step));
    }
    Ok(row.outcome.clone())
}
