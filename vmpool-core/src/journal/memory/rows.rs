//! The rows and the events, and how a batch changes them.
//!
//! Each row is looked up once: it is swapped for the one that was there, and
//! where a later one of the batch is refused, all are swapped back. Whoever
//! reads sees neither, since the whole of it is behind one lock.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::Arc;

use super::pools::PoolEntry;
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, PoolName, StageId, StepId, Version};
use crate::journal::{
    Batch, Change, CommitError, Event, MachineRow, Note, OrderRow, Row, StageRecord, StageRow,
    StepRow,
};
use crate::map::Map;

/// Events kept; older ones are forgotten when something ends.
const EVENTS_KEPT: usize = 4_096;
/// Rows of ended things kept, for retries and `explain`; older ones are forgotten.
const ENDED_KEPT: usize = 4_096;

/// All that is in the journal.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) orders: Map<OrderId, Arc<OrderRow>>,
    pub(super) machines: Map<MachineId, Arc<MachineRow>>,
    pub(super) stages: Map<StageId, StageEntry>,
    pub(super) pools: Map<PoolName, PoolEntry>,
    pub(super) events: VecDeque<Event>,
    last_event: u64,
    ended: VecDeque<Ended>,
}

/// A stage and its steps.
#[derive(Debug)]
pub(super) struct StageEntry {
    pub(super) row: Arc<StageRow>,
    steps: Vec<Arc<StepRow>>,
}

#[derive(Debug)]
enum Ended {
    Order(OrderId),
    Machine(MachineId),
    Stage(StageId),
}

/// What a change's row holds once it was swapped in.
enum Swapped {
    /// The row that was there.
    Old,
    /// There was none: still the new one.
    New,
}

/// How much there was before a batch.
struct Mark {
    events: usize,
    ended: usize,
}

/// Slots that a batch takes and frees (P7).
#[derive(Default)]
struct Slots {
    taken: u32,
    freed: u32,
    /// By a row that moves to the batch's pool.
    freed_elsewhere: Vec<(PoolName, u32)>,
}

impl StageEntry {
    pub(super) fn record(&self) -> StageRecord {
        StageRecord {
            stage: self.row.clone(),
            steps: self.steps.clone(),
        }
    }

    /// It has ended, and so has each of its steps.
    pub(super) fn is_over(&self) -> bool {
        let ended = |step: &Arc<StepRow>| step.outcome.is_some();
        self.row.state.is_ended() && self.steps.iter().all(ended)
    }

    fn step_mut(&mut self, id: &StepId) -> Option<&mut Arc<StepRow>> {
        self.steps.iter_mut().find(|step| step.id == *id)
    }
}

impl Rows {
    /// Makes all changes of the batch, or none.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), CommitError> {
        batch.check()?;
        let pool = self.pools.get(&batch.pool);
        let (term, occupied) = pool.map_or_else(Default::default, |pool| (pool.term, pool.slots));
        if term > batch.term {
            let (ours, theirs) = (batch.term, term);
            return Err(CommitError::Fenced {
                pool: batch.pool,
                ours,
                theirs,
            });
        }
        let before = Mark {
            events: self.events.len(),
            ended: self.ended.len(),
        };
        let mut slots = Slots::default();
        for place in 0..batch.changes.len() {
            let change = &mut batch.changes[place];
            slots.taken += change.row.slots();
            self.record(batch.at, change);
            match self.swap_in(&mut change.row) {
                Ok(Swapped::New) => {}
                Ok(Swapped::Old) => slots.free(&change.row, &batch.pool),
                Err(found) => {
                    let refused = CommitError::Conflict {
                        key: change.row.key(),
                        wanted: change.row.version(),
                        found,
                    };
                    self.undo(&mut batch.changes[..place], &before);
                    return Err(refused);
                }
            }
        }
        let wanted = (occupied + slots.taken).saturating_sub(slots.freed);
        if let Some(limit) = batch.limit
            && wanted > limit
        {
            self.undo(&mut batch.changes, &before);
            return Err(CommitError::Limit {
                pool: batch.pool,
                limit,
                wanted,
            });
        }
        if wanted != occupied || term < batch.term {
            let pool = self.pools.entry(batch.pool).or_default();
            pool.term = batch.term;
            pool.slots = wanted;
        }
        for (pool, slots) in slots.freed_elsewhere {
            let pool = self.pools.entry(pool).or_default();
            pool.slots = pool.slots.saturating_sub(slots);
        }
        for note in batch.notes {
            self.note(batch.at, note);
        }
        if self.ended.len() > before.ended {
            self.forget_oldest();
        }
        Ok(())
    }

    /// Puts the row in the place of the one before it; the error is the version
    /// that is there instead.
    fn swap_in(&mut self, row: &mut Row) -> Result<Swapped, Option<Version>> {
        let wanted = row.version();
        match row {
            Row::Order(row) => match self.orders.get_mut(&row.id) {
                Some(known) => swap(known, row, known.version, wanted),
                None => first(wanted, || {
                    self.orders.insert(row.id.clone(), row.clone());
                }),
            },
            Row::Machine(row) => match self.machines.get_mut(row.id()) {
                Some(known) => swap(known, row, known.version, wanted),
                None => first(wanted, || {
                    self.machines.insert(row.id().clone(), row.clone());
                }),
            },
            Row::Stage(row) => match self.stages.entry(row.id.clone()) {
                Entry::Occupied(known) => {
                    let known = &mut known.into_mut().row;
                    swap(known, row, known.version, wanted)
                }
                Entry::Vacant(place) => first(wanted, || {
                    let (row, steps) = (row.clone(), Vec::new());
                    place.insert(StageEntry { row, steps });
                }),
            },
            Row::Step(row) => {
                // A step without its stage is not kept: the pool writes no such row.
                let Some(stage) = self.stages.get_mut(&row.stage) else {
                    return first(wanted, || {});
                };
                match stage.step_mut(&row.id) {
                    Some(known) => swap(known, row, known.version, wanted),
                    None => first(wanted, || stage.steps.push(row.clone())),
                }
            }
        }
    }

    /// Takes back what was swapped in, the last first.
    fn undo(&mut self, changes: &mut [Change], before: &Mark) {
        for change in changes.iter_mut().rev() {
            self.swap_out(&mut change.row);
        }
        self.last_event -= (self.events.len() - before.events) as u64;
        self.events.truncate(before.events);
        self.ended.truncate(before.ended);
    }

    fn swap_out(&mut self, row: &mut Row) {
        match row {
            Row::Order(row) => match self.orders.get_mut(&row.id) {
                Some(known) if !Arc::ptr_eq(known, row) => mem::swap(known, row),
                _ => drop(self.orders.remove(&row.id)),
            },
            Row::Machine(row) => match self.machines.get_mut(row.id()) {
                Some(known) if !Arc::ptr_eq(known, row) => mem::swap(known, row),
                _ => drop(self.machines.remove(row.id())),
            },
            Row::Stage(row) => match self.stages.get_mut(&row.id) {
                Some(known) if !Arc::ptr_eq(&known.row, row) => mem::swap(&mut known.row, row),
                _ => drop(self.stages.remove(&row.id)),
            },
            Row::Step(row) => {
                let Some(stage) = self.stages.get_mut(&row.stage) else {
                    return;
                };
                match stage.step_mut(&row.id) {
                    Some(known) if !Arc::ptr_eq(known, row) => mem::swap(known, row),
                    _ => drop(stage.steps.pop()),
                }
            }
        }
    }

    /// The event of a change, and the end of what is over by it.
    fn record(&mut self, at: Timestamp, change: &mut Change) {
        self.last_event += 1;
        self.events.push_back(Event {
            seq: self.last_event,
            at,
            key: change.row.key(),
            version: change.row.version(),
            what: change.what.into(),
            cause: mem::take(&mut change.cause),
        });
        self.ended.extend(match &change.row {
            Row::Order(row) if row.state.is_settled() => Some(Ended::Order(row.id.clone())),
            Row::Machine(row) if !row.state.occupies_slot() => {
                Some(Ended::Machine(row.id().clone()))
            }
            Row::Stage(row) if row.state.is_ended() => Some(Ended::Stage(row.id.clone())),
            _ => None,
        });
    }

    fn note(&mut self, at: Timestamp, note: Note) {
        self.last_event += 1;
        self.events.push_back(Event {
            seq: self.last_event,
            at,
            key: note.key,
            version: Version(0),
            what: note.what.into(),
            cause: note.cause,
        });
    }

    /// Called where something ended, so that a claim never pays for it.
    fn forget_oldest(&mut self) {
        let surplus = self.events.len().saturating_sub(EVENTS_KEPT);
        self.events.drain(..surplus);
        while self.ended.len() > ENDED_KEPT {
            match self.ended.pop_front() {
                Some(Ended::Order(id)) => drop(self.orders.remove(&id)),
                Some(Ended::Machine(id)) => {
                    // One that was shown alive after its end is not over.
                    let over = self.machines.get(&id);
                    if over.is_some_and(|row| !row.state.occupies_slot()) {
                        self.machines.remove(&id);
                    }
                }
                Some(Ended::Stage(id)) => drop(self.stages.remove(&id)),
                None => return,
            }
        }
    }
}

impl Slots {
    /// What `old` occupied is free: it was replaced by a row of `pool`.
    fn free(&mut self, old: &Row, pool: &PoolName) {
        let of = match old {
            Row::Order(old) => &old.pool,
            Row::Machine(old) => &old.machine.pool,
            Row::Stage(_) | Row::Step(_) => return,
        };
        if of == pool {
            self.freed += old.slots();
        } else {
            self.freed_elsewhere.push((of.clone(), old.slots()));
        }
    }
}

fn swap<T>(
    known: &mut Arc<T>,
    row: &mut Arc<T>,
    found: Version,
    wanted: Version,
) -> Result<Swapped, Option<Version>> {
    if found.next() != wanted {
        return Err(Some(found));
    }
    mem::swap(known, row);
    Ok(Swapped::Old)
}

fn first(wanted: Version, insert: impl FnOnce()) -> Result<Swapped, Option<Version>> {
    if wanted != Version(1) {
        return Err(None);
    }
    insert();
    Ok(Swapped::New)
}
