//! A step's call: finds the step, or has it followed, and waits for its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::RunnerError;
use super::reign::Reign;
use super::stages::{StageEntry, conflict};
use crate::executor::ExecutorError;
use crate::id::StepId;
use crate::journal::StageRecord;
use crate::stage::StepHash;
use crate::step::{Step, StepOutcome};

/// Steps that a runner follows at the same time. Those that it finds after a
/// restart are followed however many they are.
pub(super) const MOST_STEPS: usize = 10_000;

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
        match stage.lease.get() {
            Some(lease) => Ok(self.parts.executor.cancel(lease, step).await?),
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
