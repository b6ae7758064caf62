//! Requests that wait: who they are and why they do, in the pool's status and
//! as notes in the journal, for `explain`. Off the claim path: a request that
//! finds a machine ready never comes here.
//!
//! The notes are written by a task of their own from a queue that holds so
//! many; what comes beyond that is not told. They change no row.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::book::Book;
use super::keeper::JOURNAL_PAUSE;
use super::shared::Shared;
use super::status::Waiter;
use super::{AcquireError, AcquireRequest, Evidence};
use crate::clock::Timestamp;
use crate::id::StageId;
use crate::journal::{Batch, CommitError, Note, RowKey};
use crate::machine::MachineState;
use crate::map::Map;

/// Notes that may wait to be written.
const NOTES_KEPT: usize = 1024;
/// Notes written in one transaction, and how far apart they may be.
const NOTES_AT_ONCE: usize = 100;
const NOTES_WITHIN: Duration = Duration::from_secs(1);

/// The book's page on them.
#[derive(Debug, Default)]
pub(super) struct Waits {
    waiting: Map<StageId, Wait>,
    notes: VecDeque<(Timestamp, Note)>,
    /// A task writes them.
    writing: bool,
}

#[derive(Debug)]
struct Wait {
    since: Timestamp,
    /// A note tells what holds orders off.
    told: bool,
    /// Where it wants its machine to be launched, until one is ordered there.
    zone: Option<Arc<str>>,
}

impl Waits {
    /// The longest waiting first.
    pub(super) fn waiters(&self) -> Vec<Waiter> {
        let waiting = self.waiting.iter().map(|(stage, wait)| Waiter {
            stage: stage.clone(),
            since: wait.since,
        });
        let mut waiters: Vec<_> = waiting.collect();
        waiters.sort_unstable_by(|one, other| {
            (one.since, &one.stage).cmp(&(other.since, &other.stage))
        });
        waiters
    }

    /// The place of a stage among them, from 1.
    pub(super) fn position(&self, stage: &StageId) -> Option<u32> {
        let since = self.waiting.get(stage)?.since;
        let mut before = 0;
        for (other, wait) in &self.waiting {
            before += u32::from((wait.since, other) < (since, stage));
        }
        Some(before + 1)
    }

    /// The zone that the longest waiting wish is for, and how many wish for it,
    /// but no more than `most`. Each wish is granted once: if the order comes to
    /// nothing, the next one is for any zone.
    pub(super) fn take_wishes(&mut self, most: u32) -> Option<(Arc<str>, u32)> {
        let wishing = self.waiting.values().filter(|wait| wait.zone.is_some());
        let zone = wishing.min_by_key(|wait| wait.since)?.zone.clone()?;
        let mut taken = 0;
        for wait in self.waiting.values_mut() {
            if taken < most && wait.zone.as_ref() == Some(&zone) {
                wait.zone = None;
                taken += 1;
            }
        }
        (taken > 0).then_some((zone, taken))
    }

    /// Has a note written, by the keeper's next turn.
    pub(super) fn note(&mut self, at: Timestamp, key: RowKey, what: &'static str, cause: String) {
        if self.notes.len() < NOTES_KEPT {
            let cause = cause.into();
            self.notes.push_back((at, Note { key, what, cause }));
        }
    }

    /// Tells those who were not told what holds orders off.
    fn tell(&mut self, at: Timestamp, cause: &str) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for (stage, wait) in waiting.iter_mut().filter(|(_, wait)| !wait.told) {
            wait.told = true;
            self.note(at, of(stage), "waits", cause.to_owned());
        }
        self.waiting = waiting;
    }

    /// What holds orders off is worse now: all are told again.
    pub(super) fn tell_again(&mut self) {
        self.waiting.values_mut().for_each(|wait| wait.told = false);
    }

    /// True: there are notes, and it is the caller who has them written from now on.
    pub(super) fn begin_writing(&mut self) -> bool {
        !self.notes.is_empty() && !std::mem::replace(&mut self.writing, true)
    }

    /// Those that come next; where there are none, nobody writes any more.
    fn next_notes(&mut self) -> Option<(Timestamp, Vec<Note>)> {
        let Some((at, _)) = self.notes.front() else {
            self.writing = false;
            return None;
        };
        let at = *at;
        let until = at.after(NOTES_WITHIN);
        let together = self.notes.iter().take(NOTES_AT_ONCE);
        let count = together.take_while(|(at, _)| *at <= until).count();
        let notes = self.notes.drain(..count).map(|(_, note)| note);
        Some((at, notes.collect()))
    }
}

/// The row of a request's stage, which there need not be yet.
fn of(stage: &StageId) -> RowKey {
    RowKey::Stage(stage.clone())
}

/// A request while it waits. Dropped before it is [through](Self::through), its
/// caller gave up.
pub(super) struct Waiting<'a> {
    shared: &'a Shared,
    stage: &'a StageId,
    since: Timestamp,
    through: bool,
}

impl Waiting<'_> {
    /// It waits no more: it has its machine, or is told why not.
    pub(super) fn through(mut self) {
        self.through = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.shared.now();
        let mut book = self.shared.book.lock();
        book.waits.waiting.remove(self.stage);
        if !self.through {
            let waited = now.since(self.since);
            self.shared.metrics.given_up(waited);
            let cause = format!("its caller gave up after {waited:.1?}");
            book.waits.note(now, of(self.stage), "refused", cause);
            drop(book);
            self.shared.work.notify_one();
        }
    }
}

impl Book {
    /// What comes for those who wait, and what keeps more from coming.
    fn stands(&self, held_off: Option<&str>) -> String {
        let (booting, ordered) = (self.count(MachineState::Booting), self.open_slots());
        let mut stands = format!("{booting} boot and {ordered} are ordered");
        if self.occupied() >= self.size.limit {
            let ending = self.count(MachineState::Draining) + self.count(MachineState::Terminating);
            let _ = write!(
                stands,
                "; all {} slots are taken: {} claimed, {ending} ending",
                self.size.limit,
                self.count(MachineState::Claimed)
            );
            let held = self.count(MachineState::Held);
            if held > 0 {
                let _ = write!(stands, ", {held} held");
            }
        }
        if let Some(why) = held_off {
            let _ = write!(stands, "; no more is ordered {why}");
        }
        stands
    }
}

impl Shared {
    /// What is told last to a request that nothing came for: how its pool stands.
    pub(super) fn stands(&self) -> Evidence {
        // The request that ends here is one that no machine is ordered for.
        let held_off = self.held_off(self.waiting().max(1));
        let stands = self.book.lock().stands(held_off.as_deref());
        Evidence {
            at: self.now(),
            machine: None,
            text: format!("when it was given up, {stands}"),
        }
    }

    /// A request found no machine and begins to wait.
    pub(super) fn waits<'a>(&'a self, request: &'a AcquireRequest) -> Waiting<'a> {
        let held_off = self.held_off(self.waiting().max(1));
        let since = self.now();
        {
            let mut book = self.book.lock();
            let told = held_off.is_some();
            let stands = book.stands(held_off.as_deref());
            let cause = format!("no machine of pool {} is ready; {stands}", self.name);
            let zone = request.zone.clone();
            let wait = Wait { since, told, zone };
            book.waits.waiting.insert(request.stage.clone(), wait);
            book.waits.note(since, of(&request.stage), "waits", cause);
        }
        self.work.notify_one();
        Waiting {
            shared: self,
            stage: &request.stage,
            since,
            through: false,
        }
    }

    /// Tells each request that waits once what holds its machine's order off.
    pub(super) fn tell_waiting(&self) {
        if let Some(why) = self.held_off(self.waiting()) {
            let (now, cause) = (self.now(), format!("no machine is ordered {why}"));
            self.book.lock().waits.tell(now, &cause);
        }
    }

    /// A request ended without a machine.
    pub(super) fn ends_without(&self, request: &AcquireRequest, error: &AcquireError) {
        self.metrics.refused(error);
        // These two are about what the stage has already.
        if matches!(
            error,
            AcquireError::StageOver { .. } | AcquireError::Conflict { .. }
        ) {
            return;
        }
        let (now, cause) = (self.now(), error.to_string());
        let mut book = self.book.lock();
        book.waits.note(now, of(&request.stage), "refused", cause);
        drop(book);
        self.work.notify_one();
    }

    /// Writes notes until none is left. Best effort: one whose writing is in
    /// doubt is not written again.
    pub(super) async fn write_notes(self: Arc<Self>) {
        loop {
            let Some((at, notes)) = self.book.lock().waits.next_notes() else {
                return;
            };
            loop {
                self.allowed().await;
                let batch = Batch {
                    at,
                    pool: self.name.clone(),
                    term: self.term,
                    limit: None,
                    changes: Vec::new(),
                    notes: notes.clone(),
                };
                match self.parts.journal.commit(batch).await {
                    Err(error @ CommitError::Unavailable { .. }) => {
                        tracing::debug!(pool = %self.name, %error, "notes are not written yet");
                        tokio::time::sleep(JOURNAL_PAUSE).await;
                    }
                    Err(error @ CommitError::Fenced { .. }) => return self.fenced(&error),
                    Ok(()) | Err(_) => break,
                }
            }
        }
    }
}
