//! A step's end in the journal.
//!
//! While the stage has its machine, the pool writes it. After that the pool
//! knows the stage no more, and the step's row is changed here: under the same
//! term, by the same compare-and-swap.

use std::sync::Arc;

use super::reign::Reign;
use crate::clock::Timestamp;
use crate::id::{StageId, StepId};
use crate::journal::{Batch, Change, CommitError, RowKey, StepRow};
use crate::pool::{NoteError, Pool as _};
use crate::stage::StageEvent;
use crate::step::StepOutcome;

/// More than any step has.
const EVENTS_OF_A_STEP: usize = 16;

impl Reign {
    /// Makes a step's end durable; gives the one that stands.
    ///
    /// # Errors
    /// It is not known to be written: again.
    pub(super) async fn note_end(
        &self,
        stage: &StageId,
        step: &StepId,
        outcome: &StepOutcome,
    ) -> Result<StepOutcome, String> {
        let ended = StageEvent::StepEnded {
            step: step.clone(),
            outcome: outcome.clone(),
        };
        match self.pool.note(stage, ended).await {
            Ok(()) => Ok(outcome.clone()),
            Err(error @ NoteError::Journal { .. }) => Err(error.to_string()),
            Err(_) => self.note_late_end(stage, step, outcome).await,
        }
    }

    /// When the journal first told of a step: now, where it can't be read or has
    /// forgotten that.
    pub(super) async fn first_told(&self, stage: &StageId, step: &StepId) -> Timestamp {
        let key = RowKey::Step(stage.clone(), step.clone());
        let told = self.parts.journal.history(&key, EVENTS_OF_A_STEP).await;
        let first = told.ok().and_then(|events| events.first().map(|it| it.at));
        first.unwrap_or_else(|| self.parts.clock.now())
    }

    async fn note_late_end(
        &self,
        stage: &StageId,
        step: &StepId,
        outcome: &StepOutcome,
    ) -> Result<StepOutcome, String> {
        let journal = &self.parts.journal;
        let record = journal.stage(stage).await.map_err(|e| e.to_string())?;
        let steps = record.map(|record| record.steps).unwrap_or_default();
        let Some(row) = steps.into_iter().find(|row| row.id == *step) else {
            // Forgotten with its stage, long ago: there is nobody to ask for it.
            return Ok(outcome.clone());
        };
        if let Some(stands) = &row.outcome {
            return Ok(stands.clone());
        }
        if !*self.may_write.borrow() {
            return Err("the pool's lease was not renewed in time".to_owned());
        }
        let after = Arc::new(StepRow {
            outcome: Some(outcome.clone()),
            version: row.version.next(),
            ..(*row).clone()
        });
        let batch = Batch {
            at: self.parts.clock.now(),
            pool: self.name.clone(),
            term: self.term,
            limit: None,
            changes: vec![Change::new(
                after,
                "ended",
                "collected after its stage's end",
            )],
            notes: Vec::new(),
        };
        match journal.commit(batch).await {
            Ok(()) => Ok(outcome.clone()),
            Err(error) => {
                if matches!(error, CommitError::Fenced { .. }) {
                    self.doubt.notify_one();
                }
                Err(error.to_string())
            }
        }
    }
}
