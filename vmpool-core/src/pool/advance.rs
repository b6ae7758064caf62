//! Changes to machines and stages: next state → journal → book → effects.
//!
//! All changes of a living machine but the claim go through [`Shared::advance`].
//! A lost compare-and-swap reads the rows back and decides again.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::watch;

use super::book::Book;
use super::keeper::JOURNAL_PAUSE;
use super::leaves::{Leaves, Leaving, Stays};
use super::shared::{ReadyMachine, Shared};
use super::{Origin, PoolEvent, ReleaseError, notice};
use crate::id::{MachineId, StageId};
use crate::journal::{Batch, Change, CommitError, JournalError, MachineRow, StageRecord};
use crate::link::Health;
use crate::machine::{self, Effect, MachineEvent, MachineState};
use crate::stage::StageEnd;

/// Lost swaps in a row after which something else is wrong.
pub(super) const MOST_SWAPS: u32 = 16;

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
    /// Takes a machine through `event`. Where that ends its stage, it ends as
    /// `end` says; without `end`, a machine that a stage has refuses, and so it
    /// does with an `end` that is not its stage's any more.
    pub(super) async fn advance(
        &self,
        id: &MachineId,
        event: MachineEvent,
        cause: impl Into<Cow<'static, str>>,
        end: Option<StageEnd>,
    ) -> Result<MachineState, AdvanceError> {
        let leaves = end.map(Leaves::Ends);
        self.advance_and(id, event, cause.into(), leaves).await
    }

    /// As [`Shared::advance`], for a stage that need not end when it leaves its machine.
    pub(super) async fn advance_and(
        &self,
        id: &MachineId,
        event: MachineEvent,
        cause: Cow<'static, str>,
        leaves: Option<Leaves>,
    ) -> Result<MachineState, AdvanceError> {
        for _ in 0..MOST_SWAPS {
            let (row, stage) = {
                let book = self.book.lock();
                let entry = book.machine(id).ok_or(AdvanceError::Unknown)?;
                let row = entry.row.clone();
                let stage = row.stage.as_ref().and_then(|stage| book.stage(stage));
                let stage = stage.map(Leaving::of);
                (row, stage)
            };
            let event = self.rather_held(&row, event, leaves.as_ref());
            let (state, effects) = machine::next(row.state, event)?;
            let refused = machine::Refused {
                state: row.state,
                event,
            };
            let left = match &leaves {
                _ if !effects.contains(&Effect::EndStage) => None,
                Some(leaves) => leaves.from(&row, stage).map_err(|Stays| refused)?,
                None => return Err(refused.into()),
            };
            let waits = left.as_ref().is_some_and(|stage| !stage.state.is_ended());
            let at = self.now();
            let calls = (state == MachineState::Terminating).then_some(at);
            let (hold, cause) = match &row.hold {
                Some(hold) if state == MachineState::Held => (
                    Some(Arc::new(hold.begun(at, row.expires_at))),
                    format!("{cause}; {}", hold.told()).into(),
                ),
                hold => (hold.clone(), cause.clone()),
            };
            let after = Arc::new(MachineRow {
                state,
                since: at,
                cause: cause.clone(),
                // What the machine was not prepared for it never served.
                stage: row.stage.clone().filter(|_| !waits),
                called_at: calls.or(row.called_at),
                hold,
                version: row.version.next(),
                ..(*row).clone()
            });
            let mut changes = vec![Change::new(after.clone(), state.as_str(), cause.clone())];
            if let Some(stage) = &left {
                let what = stage.state.as_str();
                let unfit = stage.tried.last().filter(|_| waits);
                let cause = unfit.map_or_else(|| cause.clone(), |unfit| unfit.to_string().into());
                changes.push(Change::new(stage.clone(), what, cause));
            }
            match self.commit(changes).await {
                Ok(()) => {}
                Err(CommitError::Conflict { .. } | CommitError::Ambiguous { .. }) => {
                    if self.reload(id).await?.as_ref() == Some(&after) {
                        if effects.contains(&Effect::Offer) {
                            let health = self.parts.link.health(id);
                            self.offer(&mut self.book.lock(), after, health);
                        }
                        return Ok(state);
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let health = effects
                .contains(&Effect::Offer)
                .then(|| self.parts.link.health(id));
            {
                // Told under the lock, so that each machine's events are heard
                // in their order, and who hears that one is ready can have it.
                let mut book = self.book.lock();
                book.put_machine(after.clone());
                if let Some(stage) = left {
                    self.metrics.stage_ended(&stage.state);
                    if !waits {
                        tracing::info!(pool = %self.name, stage = %stage.id, machine = %id, %cause, "a stage ended");
                    }
                    // It asks for nothing any more, so nobody follows it.
                    let _ = book.put_stage(stage, Origin::Attached);
                }
                if let Some(health) = health {
                    self.offer(&mut book, after.clone(), health);
                }
                self.announcer.tell(|| PoolEvent::Machine {
                    id: id.clone(),
                    state,
                    stage: after.stage.clone(),
                    cause,
                });
            }
            self.metrics.is_now(state);
            if row.state == MachineState::Booting && state == MachineState::Ready {
                self.metrics.booted(at.since(row.launched_at));
            }
            self.follow(id, effects);
            return Ok(state);
        }
        Err(CommitError::Unavailable {
            reason: "the row changes all the time".to_owned(),
        }
        .into())
    }

    /// Lays a ready machine into the queue, under one lock with the look at its
    /// state: what begins to drain after this finds it there.
    pub(super) fn offer(
        &self,
        book: &mut Book,
        row: Arc<MachineRow>,
        health: watch::Receiver<Health>,
    ) {
        let as_known = book.machine(row.id()).is_some_and(|known| known.row == row);
        // What nobody has when the pool ends is the keeper's to end.
        if book.is_draining() || !as_known {
            return;
        }
        if book.hold.breaker.is_open() {
            self.metrics.breaker(false);
        }
        book.hold.breaker.succeeded();
        // What changes from here on is looked at before it is handed out.
        let notices = self.parts.link.notices(row.id());
        if notice::is_ending(&notices) {
            return;
        }
        self.queue.offer(ReadyMachine {
            row,
            health,
            notices,
        });
    }

    /// What a transition asks for. It was offered, and its stage ended, with the change.
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
        if !*self.may_write.borrow() {
            return Err(CommitError::Unavailable {
                reason: "the pool's lease was not renewed in time".to_owned(),
            });
        }
        let pool = self.name.clone();
        let batch = Batch {
            at: self.now(),
            pool,
            term: self.term,
            limit,
            changes,
            notes: Vec::new(),
        };
        let result = self.parts.journal.commit(batch).await;
        if let Err(error @ CommitError::Fenced { .. }) = &result {
            self.fenced(error);
        }
        result
    }

    /// Commits, and again until it is known whether that is written. For rows
    /// that one task alone writes, as an order's: a conflict after a commit in
    /// doubt is that commit.
    pub(super) async fn commit_alone(
        &self,
        changes: Vec<Change>,
        limit: Option<u32>,
    ) -> Result<(), CommitError> {
        let mut in_doubt = false;
        loop {
            let error = match self.commit_within(changes.clone(), limit).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict { .. }) if in_doubt => return Ok(()),
                Err(error @ CommitError::Ambiguous { .. }) => error,
                Err(error @ CommitError::Unavailable { .. }) if in_doubt => error,
                Err(error) => return Err(error),
            };
            in_doubt = true;
            self.trouble(None, error.to_string());
            tokio::time::sleep(JOURNAL_PAUSE).await;
        }
    }

    /// Reads a machine and its stage back into the book. What follows from a
    /// change that nobody saw the end of follows now.
    pub(super) async fn reload(
        &self,
        id: &MachineId,
    ) -> Result<Option<Arc<MachineRow>>, CommitError> {
        let unreadable = |error: JournalError| CommitError::Unavailable {
            reason: error.to_string(),
        };
        let had = self.book.lock().machine(id).map(|known| known.row.clone());
        let had = had.as_ref().and_then(|row| row.stage.as_ref());
        let both = self.read_both(id, had).await.map_err(unreadable)?;
        let Some((row, record)) = both else {
            return Ok(None);
        };
        let (changed, followers) = {
            let mut book = self.book.lock();
            // What is gone stays gone, and what is newer stays.
            let Some(known) = book.machine(id) else {
                return Ok(Some(row));
            };
            let newer = known.row.version < row.version;
            let changed = newer && known.row.state != row.state;
            // A stage may be newer though its machine is not: a write of it
            // may have been made that nobody waited for.
            let record = record.filter(|record| {
                let id = &record.stage.id;
                book.stage(id).is_some() || (newer && book.has_stage(id))
            });
            let followers = record.map(|record| book.put_stage(record.stage, Origin::Attached));
            // Another of its deadlines may count from now on.
            self.work.notify_one();
            if !newer {
                return Ok(Some(row));
            }
            book.put_machine(row.clone());
            (changed, followers)
        };
        // Outside the lock: each wakes its waiter.
        drop(followers);
        if changed {
            self.announcer.tell(|| PoolEvent::Machine {
                id: id.clone(),
                state: row.state,
                stage: row.stage.clone(),
                cause: "read back from the journal".into(),
            });
        }
        self.follow(
            id,
            if row.state.occupies_slot() {
                &[Effect::Refill, Effect::CallTerminate]
            } else {
                &[Effect::Refill, Effect::Forget]
            },
        );
        Ok(Some(row))
    }

    /// A machine and its stage, or the one that it had. That the stage leaves its
    /// machine is written together with the machine's way out: where only the
    /// stage's answer tells of it, the machine's is older, and is asked for again.
    async fn read_both(
        &self,
        id: &MachineId,
        had: Option<&StageId>,
    ) -> Result<Option<(Arc<MachineRow>, Option<StageRecord>)>, JournalError> {
        let journal = &self.parts.journal;
        let Some(row) = journal.machine(id).await? else {
            return Ok(None);
        };
        let record = match row.stage.as_ref().or(had) {
            Some(stage) => journal.stage(stage).await?,
            None => None,
        };
        let left = record.as_ref().is_some_and(|it| !it.stage.has_machine());
        if left && row.state == MachineState::Claimed {
            let newer = journal.machine(id).await?;
            return Ok(newer.map(|row| (row, record)));
        }
        Ok(Some((row, record)))
    }

    /// Drains a machine, until that is written down. One that is on its way out
    /// already is left alone; so is, without `end`, one that a stage has.
    pub(super) async fn drain(
        &self,
        id: &MachineId,
        cause: impl Into<Cow<'static, str>>,
        end: Option<StageEnd>,
    ) {
        let cause = cause.into();
        loop {
            self.queue.take(|ready| ready.row.id() == id);
            let drained = self.advance(id, MachineEvent::Drain, cause.clone(), end.clone());
            let Err(AdvanceError::Commit(error)) = drained.await else {
                break;
            };
            self.trouble(Some(id), format!("drain machine {id}: {error}"));
            tokio::time::sleep(JOURNAL_PAUSE).await;
        }
        // It may have come back from a claim that was not written.
        self.queue.take(|ready| ready.row.id() == id);
        self.retire.notify_one();
    }

    /// [`Shared::drain`] by a task of its own, one a machine at a time.
    pub(super) fn drain_soon(
        self: &Arc<Self>,
        id: MachineId,
        cause: &'static str,
        end: Option<StageEnd>,
    ) {
        if !self.book.lock().begin_leaving(&id) {
            return;
        }
        let shared = self.clone();
        self.spawn("drain a machine", async move {
            shared.drain(&id, cause, end).await;
            shared.book.lock().end_leaving(&id);
            shared.work.notify_one();
        });
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
        let cause = cause.into();
        let machine = {
            let book = self.book.lock();
            match book.waiting(stage) {
                Some(_) => None,
                None => match book.stage(stage) {
                    Some(entry) => Some(entry.row.machine.clone()),
                    None => return Ok(()),
                },
            }
        };
        let Some(machine) = machine else {
            return self.end_waiting(stage, cause, end).await;
        };
        let failed = |error: &dyn std::error::Error| ReleaseError {
            stage: stage.clone(),
            reason: error.to_string(),
        };
        match self
            .advance(&machine, MachineEvent::Drain, cause, Some(end))
            .await
        {
            Ok(_) => {
                self.retire.notify_one();
                Ok(())
            }
            // Its machine is on its way out already, and took the stage along:
            // if the book does not say so, the journal does.
            Err(AdvanceError::Unknown | AdvanceError::Refused(_)) => {
                self.reload_stage(stage).await.map_err(|e| failed(&e))
            }
            Err(error) => Err(failed(&error)),
        }
    }
}
