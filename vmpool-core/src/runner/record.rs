//! A step's end in the journal.
//!
//! While the stage has its machine, the pool writes it. After that the pool
//! knows the stage no more, and the step's row is changed here: under the same
//! term, by the same compare-and-swap.

use std::sync::Arc;

use super::reign::Reign;
use super::stages::StepEntry;
use crate::clock::Timestamp;
use crate::id::{StageId, StepId, Version};
use crate::journal::{Batch, Change, CommitError, JournalError, RowKey, StepRow};
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
        step: &StepEntry,
        outcome: &StepOutcome,
    ) -> Result<StepOutcome, String> {
        let ended = StageEvent::StepEnded {
            step: step.id.clone(),
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

    /// A step's end, where the journal has it.
    pub(super) async fn end_of(
        &self,
        stage: &StageId,
        step: &StepId,
    ) -> Result<Option<StepOutcome>, JournalError> {
        let record = self.parts.journal.stage(stage).await?;
        let mut steps = record.into_iter().flat_map(|record| record.steps);
        let row = steps.find(|row| row.id == *step);
        Ok(row.and_then(|row| row.outcome.clone()))
    }

    async fn note_late_end(
        &self,
        stage: &StageId,
        step: &StepEntry,
        outcome: &StepOutcome,
    ) -> Result<StepOutcome, String> {
        let journal = &self.parts.journal;
        let record = journal.stage(stage).await.map_err(|e| e.to_string())?;
        let Some(record) = record else {
            // Forgotten, long ago: there is nobody to ask for it.
            return Ok(outcome.clone());
        };
        let row = record.steps.into_iter().find(|row| row.id == step.id);
        if let Some(stands) = row.as_ref().and_then(|row| row.outcome.as_ref()) {
            return Ok(stands.clone());
        }
        if !*self.may_write.borrow() {
            return Err("the pool's lease was not renewed in time".to_owned());
        }
        let after = Arc::new(StepRow {
            stage: stage.clone(),
            id: step.id.clone(),
            hash: row.as_ref().map_or_else(|| step.hash(), |row| row.hash),
            outcome: Some(outcome.clone()),
            // Without a row, it is in doubt whether its being sent was written:
            // that can't be written any more once this is.
            version: row.map_or(Version(1), |row| row.version.next()),
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
