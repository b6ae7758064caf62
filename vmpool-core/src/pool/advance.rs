//! Changes to machines and stages: next state → journal → book → effects.
//!
//! All changes of a living machine but the claim go through [`Shared::advance`].
//! A lost compare-and-swap reads the rows back and decides again.

use std::borrow::Cow;
use std::sync::Arc;

use super::warm::Shared;
use super::{NoteError, PoolEvent, ReleaseError};
use crate::id::{MachineId, StageId, StepId, Version};
use crate::journal::{Batch, Change, CommitError, MachineRow, StageRow, StepRow};
use crate::machine::{self, Effect, MachineEvent, MachineState};
use crate::stage::{self, StageEnd, StageEvent};

/// Lost swaps in a row after which something else is wrong.
const MOST_SWAPS: u32 = 16;

/// Why a machine did not change.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum AdvanceError {
    /// It is gone, or never was.
    #[error("no such machine")]
    Unknown,
    /// Not possible in its state.
    #[error(transparent)]
    Refused(#[from] machine::Refused),
    /// Not written.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Shared {
    /// Takes `machine` through `event`. Where that ends its stage, it ends as `end` says.
    pub(super) async fn advance(
        &self,
        id: &MachineId,
        event: MachineEvent,
        cause: impl Into<Cow<'static, str>>,
        end: Option<StageEnd>,
    ) -> Result<MachineState, AdvanceError> {
        let cause = cause.into();
        for _ in 0..MOST_SWAPS {
            let (row, stage) = {
                let book = self.book.lock();
                let entry = book.machine(id).ok_or(AdvanceError::Unknown)?;
                let row = entry.row.clone();
                let stage = row.stage.as_ref().and_then(|stage| book.stage(stage));
                let stage = stage.map(|entry| (entry.row.clone(), entry.origin));
                (row, stage)
            };
            let (state, effects) = machine::next(row.state, event)?;
            let at = self.now();
            let calls = (state == MachineState::Terminating).then_some(at);
            let after = Arc::new(MachineRow {
                state,
                since: at,
                called_at: calls.or(row.called_at),
                version: row.version.next(),
                ..(*row).clone()
            });
            let mut changes = vec![Change::new(after.clone(), state.as_str(), cause.clone())];
            let mut ended = None;
            if effects.contains(&Effect::EndStage)
                && let Some((stage, origin)) = stage
            {
                let end = end
                    .clone()
                    .unwrap_or_else(|| StageEnd::MachineLost(cause.clone().into()));
                let event = StageEvent::End(end);
                if let Ok(state) = stage::next(&stage.state, &event) {
                    let version = stage.version.next();
                    let stage = Arc::new(StageRow {
                        state,
                        version,
                        ..(*stage).clone()
                    });
                    changes.push(Change::new(stage.clone(), "ended", cause.clone()));
                    ended = Some((stage, origin));
                }
            }
            match self.commit(changes).await {
                Ok(()) => {}
                Err(CommitError::Conflict { .. } | CommitError::Ambiguous { .. }) => {
                    self.reload(id).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            {
                let mut book = self.book.lock();
                book.put_machine(after.clone());
                if let Some((stage, origin)) = ended {
                    book.put_stage(stage, origin);
                }
            }
            self.announcer.tell(|| PoolEvent::Machine {
                id: id.clone(),
                state,
                stage: after.stage.clone(),
                cause,
            });
            self.follow(id, effects);
            return Ok(state);
        }
        Err(CommitError::Unavailable {
            reason: "the row changes all the time".to_owned(),
        }
        .into())
    }

    /// What a transition asks for. `Offer` is the tender's, who holds the health.
    fn follow(&self, id: &MachineId, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Offer | Effect::EndStage => {}
                Effect::Refill => self.work.notify_one(),
                Effect::CallTerminate => self.retire.notify_one(),
                Effect::Forget => self.parts.link.close(id),
            }
        }
        self.count_slots();
    }

    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<(), CommitError> {
        self.commit_within(changes, None).await
    }

    pub(super) async fn commit_within(
        &self,
        changes: Vec<Change>,
        limit: Option<u32>,
    ) -> Result<(), CommitError> {
        let pool = self.name.clone();
        let batch = Batch {
            at: self.now(),
            pool,
            term: self.term,
            limit,
            changes,
        };
        let result = self.parts.journal.commit(batch).await;
        if let Err(error @ CommitError::Fenced { .. }) = &result {
            self.stop_taking(&error.to_string());
        }
        result
    }

    /// Reads a machine and its stage back into the book.
    async fn reload(&self, id: &MachineId) -> Result<(), CommitError> {
        let unreadable = |error: crate::journal::JournalError| CommitError::Unavailable {
            reason: error.to_string(),
        };
        let Some(row) = self.parts.journal.machine(id).await.map_err(unreadable)? else {
            return Ok(());
        };
        if let Some(stage) = &row.stage
            && let Some(record) = self.parts.journal.stage(stage).await.map_err(unreadable)?
        {
            self.book
                .lock()
                .put_stage(record.stage, super::Origin::Attached);
        }
        self.book.lock().put_machine(row);
        Ok(())
    }

    /// Drains a machine, whatever it does. One that is on its way out already is left alone.
    pub(super) async fn drain(
        &self,
        id: &MachineId,
        cause: impl Into<Cow<'static, str>>,
        end: Option<StageEnd>,
    ) {
        self.queue.take(|ready| ready.row.id() == id);
        match self.advance(id, MachineEvent::Drain, cause, end).await {
            Ok(_) => self.retire.notify_one(),
            Err(AdvanceError::Unknown | AdvanceError::Refused(_)) => {}
            Err(AdvanceError::Commit(error)) => {
                self.trouble(Some(id), format!("drain machine {id}: {error}"));
                // The keeper drains what is sick until it is written down.
                self.book.lock().sick.push(id.clone());
            }
        }
    }

    /// Gives up the machine of `stage`. Over already, or never claimed: no error.
    pub(super) async fn release(&self, stage: &StageId) -> Result<(), ReleaseError> {
        self.end_stage(stage, "released", StageEnd::Released).await
    }

    pub(super) async fn end_stage(
        &self,
        stage: &StageId,
        cause: impl Into<Cow<'static, str>>,
        end: StageEnd,
    ) -> Result<(), ReleaseError> {
        let machine = {
            let book = self.book.lock();
            book.stage(stage).map(|entry| entry.row.machine.clone())
        };
        let Some(machine) = machine else {
            return Ok(());
        };
        match self
            .advance(&machine, MachineEvent::Drain, cause, Some(end))
            .await
        {
            Ok(_) => {
                self.retire.notify_one();
                Ok(())
            }
            Err(AdvanceError::Unknown | AdvanceError::Refused(_)) => Ok(()),
            Err(error) => Err(ReleaseError {
                stage: stage.clone(),
                reason: error.to_string(),
            }),
        }
    }

    /// Writes down what happened to a stage. What is written already is not written again (P9).
    pub(super) async fn note(&self, id: &StageId, event: StageEvent) -> Result<(), NoteError> {
        if let StageEvent::End(end) = event {
            let ended = self.end_stage(id, "the stage ended", end).await;
            return ended.map_err(|e| NoteError::Journal {
                stage: e.stage,
                reason: e.reason,
            });
        }
        for _ in 0..MOST_SWAPS {
            let Some((row, origin, step)) = self.stage_and_step(id, &event) else {
                return Err(NoteError::Unknown { stage: id.clone() });
            };
            let refused = |reason: String| NoteError::Refused {
                stage: id.clone(),
                reason,
            };
            let state = stage::next(&row.state, &event).map_err(|e| refused(e.to_string()))?;
            let mut changes = Vec::with_capacity(1);
            let mut stage = None;
            if state != row.state {
                let version = row.version.next();
                let what = state.as_str();
                let after = Arc::new(StageRow {
                    state,
                    version,
                    ..(*row).clone()
                });
                changes.push(Change::new(after.clone(), what, "the stage goes on"));
                stage = Some(after);
            }
            let step = next_step(id, &event, step.as_deref()).map_err(refused)?;
            if let Some((step, what)) = &step {
                changes.push(Change::new(step.clone(), what, "the stage goes on"));
            }
            if changes.is_empty() {
                return Ok(());
            }
            match self.commit(changes).await {
                Ok(()) => {
                    let mut book = self.book.lock();
                    if let Some(stage) = stage {
                        book.put_stage(stage, origin);
                    }
                    if let Some((step, _)) = step
                        && let Some(steps) = book.steps_mut(id)
                    {
                        steps.insert(step.id.clone(), step);
                    }
                    return Ok(());
                }
                Err(CommitError::Conflict { .. } | CommitError::Ambiguous { .. }) => {
                    self.reload_stage(id).await?;
                }
                Err(error) => {
                    return Err(NoteError::Journal {
                        stage: id.clone(),
                        reason: error.to_string(),
                    });
                }
            }
        }
        let reason = "the row changes all the time".to_owned();
        Err(NoteError::Journal {
            stage: id.clone(),
            reason,
        })
    }
    fn stage_and_step(
        &self,
        id: &StageId,
        event: &StageEvent,
    ) -> Option<(Arc<StageRow>, super::Origin, Option<Arc<StepRow>>)> {
        let book = self.book.lock();
        let entry = book.stage(id)?;
        let step = step_of(event)
            .and_then(|step| entry.steps.get(step))
            .cloned();
        Some((entry.row.clone(), entry.origin, step))
    }

    async fn reload_stage(&self, id: &StageId) -> Result<(), NoteError> {
        let failed = |error: crate::journal::JournalError| NoteError::Journal {
            stage: id.clone(),
            reason: error.to_string(),
        };
        if let Some(record) = self.parts.journal.stage(id).await.map_err(failed)? {
            let mut book = self.book.lock();
            book.put_stage(record.stage, super::Origin::Attached);
            if let Some(steps) = book.steps_mut(id) {
                *steps = record
                    .steps
                    .into_iter()
                    .map(|step| (step.id.clone(), step))
                    .collect();
            }
        }
        Ok(())
    }
}

fn step_of(event: &StageEvent) -> Option<&StepId> {
    match event {
        StageEvent::StepSent { step, .. } | StageEvent::StepEnded { step, .. } => Some(step),
        StageEvent::Prepare | StageEvent::Prepared | StageEvent::End(_) => None,
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
                hash: *hash,
                outcome: None,
                version: Version(1),
            }),
            "sent",
        ))),
        (StageEvent::StepSent { step, hash }, Some(known)) if known.hash != *hash => {
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
