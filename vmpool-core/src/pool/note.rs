//! What happens to a stage while it has its machine: next state → journal → book.
//!
//! Its end is not among it: that is its machine's way out (`advance`).

use std::sync::Arc;

use super::advance::MOST_SWAPS;
use super::shared::Shared;
use super::{NoteError, Origin};
use crate::id::{StageId, StepId, Version};
use crate::journal::{Change, CommitError, JournalError, StageRow, StepRow};
use crate::stage::{self, StageEvent, StageState};

impl Shared {
    /// Writes down what happened to a stage. What is written already is not written again (P9).
    pub(super) async fn note(&self, id: &StageId, event: StageEvent) -> Result<(), NoteError> {
        if let StageEvent::End(end) = event {
            let ended = self.end_stage(id, "the stage ended", end).await;
            return ended.map_err(|e| unwritten(id, e.reason));
        }
        let mut in_doubt = false;
        let noted = self.note_event(id, &event, &mut in_doubt).await;
        noted.map_err(|error| match error {
            // Whatever keeps it from being noted now: it may be written.
            error if in_doubt => NoteError::Journal {
                stage: id.clone(),
                reason: error.to_string(),
                in_doubt,
            },
            error => error,
        })
    }

    /// Sets `in_doubt` where a write was begun that may be made after all.
    async fn note_event(
        &self,
        id: &StageId,
        event: &StageEvent,
        in_doubt: &mut bool,
    ) -> Result<(), NoteError> {
        for _ in 0..MOST_SWAPS {
            let Some((row, origin, step)) = self.stage_and_step(id, event) else {
                match self.attach(id).await {
                    // Its claim came into the book meanwhile.
                    Ok(_) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let refused = |reason: String| NoteError::Refused {
                stage: id.clone(),
                reason,
            };
            if matches!(event, StageEvent::Unfit(_) | StageEvent::Claim) {
                let reason = "its machines are the pool's to give and to take".to_owned();
                return Err(refused(reason));
            }
            let state = stage::next(&row.state, event).map_err(|e| refused(e.to_string()))?;
            let mut changes = Vec::with_capacity(1);
            let mut stage = None;
            let prepared = state != row.state && state == StageState::Prepared;
            if state != row.state {
                let version = row.version.next();
                let what = state.as_str();
                let after = Arc::new(StageRow {
                    state,
                    version,
                    ..(*row).clone()
                });
                changes.push(Change::new(after.clone(), what, cause(event)));
                stage = Some(after);
            }
            let step = next_step(id, event, step.as_deref()).map_err(refused)?;
            if let Some((step, what)) = &step {
                changes.push(Change::new(step.clone(), what, cause(event)));
            }
            if changes.is_empty() {
                return Ok(());
            }
            match self.commit(changes).await {
                Ok(()) => {
                    let mut book = self.book.lock();
                    if let Some(stage) = stage {
                        // It asks for nothing any more, so nobody follows it.
                        let _ = book.put_stage(stage, origin);
                    }
                    if let Some((step, _)) = step
                        && let Some(steps) = book.steps_mut(id)
                    {
                        steps.insert(step.id.clone(), step);
                    }
                    drop(book);
                    if prepared {
                        // Its own deadline counts from now on.
                        self.work.notify_one();
                    }
                    return Ok(());
                }
                Err(error @ (CommitError::Conflict { .. } | CommitError::Ambiguous { .. })) => {
                    *in_doubt |= matches!(error, CommitError::Ambiguous { .. });
                    let failed = |error: JournalError| unwritten(id, error.to_string());
                    self.reload_stage(id).await.map_err(failed)?;
                }
                Err(error) => return Err(unwritten(id, error.to_string())),
            }
        }
        Err(unwritten(id, "the row changes all the time".to_owned()))
    }

    fn stage_and_step(
        &self,
        id: &StageId,
        event: &StageEvent,
    ) -> Option<(Arc<StageRow>, Origin, Option<Arc<StepRow>>)> {
        let book = self.book.lock();
        let entry = book.stage(id)?;
        let step = step_of(event)
            .and_then(|step| entry.steps.get(step))
            .cloned();
        Some((entry.row.clone(), entry.origin, step))
    }

    /// Reads a stage back into the book, if it is still there.
    pub(super) async fn reload_stage(&self, id: &StageId) -> Result<(), JournalError> {
        if let Some(record) = self.parts.journal.stage(id).await? {
            let machine = &record.stage.machine;
            // Its machine's way out was written with that, and is read back too.
            if !record.stage.has_machine() && self.has(machine, id) {
                let read = self.reload(machine).await;
                return read.map(drop).map_err(|error| JournalError {
                    attempted: format!("read machine {machine} of stage {id} back"),
                    reason: error.to_string(),
                });
            }
            let followers = {
                let mut book = self.book.lock();
                // One that has ended meanwhile stays ended.
                if book.stage_row(id).is_none() {
                    return Ok(());
                }
                let followers = book.put_stage(record.stage, Origin::Attached);
                if let Some(steps) = book.steps_mut(id) {
                    *steps = record
                        .steps
                        .into_iter()
                        .map(|step| (step.id.clone(), step))
                        .collect();
                }
                followers
            };
            // Outside the lock: each wakes its waiter.
            drop(followers);
            // Another of its deadlines may count from now on.
            self.work.notify_one();
        }
        Ok(())
    }
}

fn unwritten(stage: &StageId, reason: String) -> NoteError {
    NoteError::Journal {
        stage: stage.clone(),
        reason,
        in_doubt: false,
    }
}

/// Why the rows change, as `explain` tells it; a step's end is told by its outcome.
fn cause(event: &StageEvent) -> &'static str {
    match event {
        StageEvent::Prepared => "the agent has carried its setup out",
        StageEvent::Unfit(_) => "its machine could not be prepared",
        StageEvent::Claim => "the stage asked for its next machine",
        StageEvent::StepSent { .. } => "it is sent to the agent",
        StageEvent::StepEnded { .. } => "the agent has told its outcome",
        StageEvent::End(_) => "the stage ended",
    }
}

fn step_of(event: &StageEvent) -> Option<&StepId> {
    match event {
        StageEvent::StepSent { step, .. } | StageEvent::StepEnded { step, .. } => Some(step),
        StageEvent::Prepared | StageEvent::Unfit(_) | StageEvent::Claim | StageEvent::End(_) => {
            None
        }
    }
}

/// The step's row as `event` makes it, and the event's name; `None` where nothing changes.
fn next_step(
    stage: &StageId,
    event: &StageEvent,
    known: Option<&StepRow>,
) -> Result<Option<(Arc<StepRow>, &'static str)>, String> {
    match (event, known) {
        (StageEvent::StepSent { step, hash }, None) => Ok(Some((
            Arc::new(StepRow {
                stage: stage.clone(),
                id: step.clone(),
                hash: Some(*hash),
                outcome: None,
                version: Version(1),
            }),
            "sent",
        ))),
        (StageEvent::StepSent { step, hash }, Some(known))
            if known.hash.is_some_and(|known| known != *hash) =>
        {
            Err(format!("step {step} was given before with another content"))
        }
        (StageEvent::StepEnded { step, .. }, None) => Err(format!("step {step} was never sent")),
        (StageEvent::StepEnded { outcome, .. }, Some(known)) if known.outcome.is_none() => {
            let version = known.version.next();
            let outcome = Some(outcome.clone());
            Ok(Some((
                Arc::new(StepRow {
                    outcome,
                    version,
                    ..known.clone()
                }),
                "ended",
            )))
        }
        // A repeated result is the one that was answered first.
        _ => Ok(None),
    }
}
