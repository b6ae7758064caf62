//! A journal in memory: for tests, benches, and `exec`, whose deployment ends
//! with its process.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Batch, Change, CommitError, Compacted, Event, Holder, Journal, JournalError, MachineRow, Note,
    OrderRow, Ownership, PoolRows, Retention, Row, RowKey, StageRecord, StageRow, StepRow, Taken,
};
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, PoolName, RunnerId, StageId, StepId, Term, Version};
use crate::map::Map;

/// Events kept; older ones are forgotten when something ends.
const EVENTS_KEPT: usize = 4_096;
/// Rows of ended things kept, for retries and `explain`; older ones are forgotten.
const ENDED_KEPT: usize = 4_096;

/// Keeps all rows in maps. What it says is durable lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    orders: Map<OrderId, Arc<OrderRow>>,
    machines: Map<MachineId, Arc<MachineRow>>,
    stages: Map<StageId, StageEntry>,
    pools: Map<PoolName, PoolEntry>,
    ended: VecDeque<Ended>,
    events: VecDeque<Event>,
    last_event: u64,
}

#[derive(Debug)]
struct StageEntry {
    row: Arc<StageRow>,
    steps: Vec<Arc<StepRow>>,
}

#[derive(Debug, Default)]
struct PoolEntry {
    term: Term,
    slots: u32,
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    holder: Holder,
    until: Timestamp,
}

#[derive(Debug)]
enum Ended {
    Order(OrderId),
    Machine(MachineId),
    Stage(StageId),
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        let mut inner = self.inner.lock();
        Ok(inner.pools.entry(pool.clone()).or_default().raise(now))
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        let mut inner = self.inner.lock();
        let entry = inner.pools.entry(pool.clone()).or_default();
        if let Some(held) = &entry.lease
            && held.until > now
            && held.holder.runner != holder.runner
        {
            return Ok(Taken::Theirs(entry.ownership(pool, now)));
        }
        entry.lease = Some(Lease {
            holder: holder.clone(),
            until: now.after(lease),
        });
        Ok(Taken::Ours(entry.raise(now)))
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let mut inner = self.inner.lock();
        let entry = inner.pools.get_mut(pool);
        let held = entry.filter(|entry| entry.term == term);
        let Some(held) = held.and_then(|entry| entry.lease.as_mut()) else {
            return Ok(false);
        };
        held.until = now.after(lease);
        Ok(true)
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let mut inner = self.inner.lock();
        let entry = inner.pools.get_mut(pool);
        let held = entry.filter(|entry| entry.term == term);
        if let Some(held) = held.and_then(|entry| entry.lease.as_mut()) {
            held.until = held.until.min(now);
        }
        Ok(())
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        let inner = self.inner.lock();
        let pools = inner.pools.iter();
        Ok(pools
            .map(|(name, entry)| entry.ownership(name, now))
            .collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.inner.lock().commit(batch)
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        let inner = self.inner.lock();
        Ok(PoolRows {
            orders: inner
                .orders
                .values()
                .filter(|row| row.pool == *pool && !row.state.is_settled())
                .cloned()
                .collect(),
            machines: inner
                .machines
                .values()
                .filter(|row| row.machine.pool == *pool && row.state.occupies_slot())
                .cloned()
                .collect(),
            stages: inner
                .stages
                .values()
                .filter(|entry| entry.row.pool == *pool && !entry.is_over())
                .map(StageEntry::record)
                .collect(),
        })
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        Ok(self.inner.lock().orders.get(id).cloned())
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        Ok(self.inner.lock().machines.get(id).cloned())
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        Ok(self.inner.lock().stages.get(id).map(StageEntry::record))
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        let inner = self.inner.lock();
        let skip = inner.events.partition_point(|event| event.seq <= after);
        Ok(inner
            .events
            .iter()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        let inner = self.inner.lock();
        let of = |event: &&Event| match (key, &event.key) {
            (RowKey::Stage(stage), RowKey::Step(of, _)) => stage == of,
            (key, found) => key == found,
        };
        let latest = inner.events.iter().rev().filter(of).take(limit);
        let mut events: Vec<Event> = latest.cloned().collect();
        events.reverse();
        Ok(events)
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        let inner = self.inner.lock();
        let mut rows: Vec<_> = inner
            .machines
            .values()
            .filter(|row| after.is_none_or(|after| row.id() > after))
            .cloned()
            .collect();
        rows.sort_unstable_by(|one, other| one.id().cmp(other.id()));
        rows.truncate(limit);
        Ok(rows)
    }

    /// Forgets by number as it goes, so there is nothing left to do.
    async fn compact(&self, _keep: Retention, _now: Timestamp) -> Result<Compacted, JournalError> {
        Ok(Compacted::default())
    }
}

impl PoolEntry {
    fn raise(&mut self, now: Timestamp) -> Term {
        self.term = Term((self.term.0 + 1).max(now.0));
        self.term
    }

    fn ownership(&self, pool: &PoolName, now: Timestamp) -> Ownership {
        let (holder, left) = match &self.lease {
            Some(lease) => (lease.holder.clone(), lease.until.since(now)),
            None => (
                Holder {
                    runner: RunnerId::new(""),
                    url: "".into(),
                },
                Duration::ZERO,
            ),
        };
        Ownership {
            pool: pool.clone(),
            holder,
            term: self.term,
            left,
        }
    }
}

impl StageEntry {
    fn record(&self) -> StageRecord {
        StageRecord {
            stage: self.row.clone(),
            steps: self.steps.clone(),
        }
    }

    /// It has ended, and so has each of its steps.
    fn is_over(&self) -> bool {
        let ended = |step: &Arc<StepRow>| step.outcome.is_some();
        self.row.state.is_ended() && self.steps.iter().all(ended)
    }

    fn step(&self, id: &StepId) -> Option<&Arc<StepRow>> {
        self.steps.iter().find(|step| step.id == *id)
    }
}

impl Inner {
    /// Checks everything, then changes everything.
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
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
        let (mut freed, mut taken) = (0, 0);
        let mut freed_elsewhere = Vec::new();
        for Change { row, .. } in &batch.changes {
            let current = self.current(row);
            let found = current.map(|(version, _)| version);
            if found.map_or(Version(1), Version::next) != row.version() {
                return Err(CommitError::Conflict {
                    key: row.key(),
                    wanted: row.version(),
                    found,
                });
            }
            match current.and_then(|(_, slots)| slots) {
                Some((pool, slots)) if *pool == batch.pool => freed += slots,
                Some((pool, slots)) => freed_elsewhere.push((pool.clone(), slots)),
                None => {}
            }
            taken += row.slots();
        }
        let slots = (occupied + taken).saturating_sub(freed);
        if let Some(limit) = batch.limit
            && slots > limit
        {
            return Err(CommitError::Limit {
                pool: batch.pool,
                limit,
                wanted: slots,
            });
        }
        if slots != occupied || term < batch.term {
            let pool = self.pools.entry(batch.pool).or_default();
            pool.term = batch.term;
            pool.slots = slots;
        }
        for (pool, slots) in freed_elsewhere {
            let pool = self.pools.entry(pool).or_default();
            pool.slots = pool.slots.saturating_sub(slots);
        }
        let ended = self.ended.len();
        for change in batch.changes {
            self.record(batch.at, &change);
            self.apply(change.row);
        }
        for note in batch.notes {
            self.note(batch.at, note);
        }
        if self.ended.len() > ended {
            self.forget_oldest();
        }
        Ok(())
    }

    /// The version of the row that `row` would replace, and the slots that it
    /// occupies, of which pool.
    fn current(&self, row: &Row) -> Option<(Version, Option<(&PoolName, u32)>)> {
        match row {
            Row::Order(row) => self
                .orders
                .get(&row.id)
                .map(|found| (found.version, Some((&found.pool, found.state.open)))),
            Row::Machine(row) => self.machines.get(row.id()).map(|found| {
                let slots = u32::from(found.state.occupies_slot());
                (found.version, Some((&found.machine.pool, slots)))
            }),
            Row::Stage(row) => self
                .stages
                .get(&row.id)
                .map(|found| (found.row.version, None)),
            Row::Step(row) => self
                .stages
                .get(&row.stage)?
                .step(&row.id)
                .map(|found| (found.version, None)),
        }
    }

    fn record(&mut self, at: Timestamp, change: &Change) {
        self.last_event += 1;
        self.events.push_back(Event {
            seq: self.last_event,
            at,
            key: change.row.key(),
            version: change.row.version(),
            what: change.what.into(),
            cause: change.cause.clone(),
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

    fn apply(&mut self, row: Row) {
        match row {
            Row::Order(row) => {
                if row.state.is_settled() {
                    self.ended.push_back(Ended::Order(row.id.clone()));
                }
                self.orders.insert(row.id.clone(), row);
            }
            Row::Machine(row) => {
                if !row.state.occupies_slot() {
                    self.ended.push_back(Ended::Machine(row.id().clone()));
                }
                match self.machines.get_mut(row.id()) {
                    Some(known) => *known = row,
                    None => drop(self.machines.insert(row.id().clone(), row)),
                }
            }
            Row::Stage(row) => {
                if row.state.is_ended() {
                    self.ended.push_back(Ended::Stage(row.id.clone()));
                }
                match self.stages.entry(row.id.clone()) {
                    Entry::Occupied(mut known) => known.get_mut().row = row,
                    Entry::Vacant(place) => {
                        let steps = Vec::new();
                        place.insert(StageEntry { row, steps });
                    }
                }
            }
            // A step without its stage is not kept: the pool writes no such row.
            Row::Step(row) => {
                if let Some(entry) = self.stages.get_mut(&row.stage) {
                    match entry.steps.iter_mut().find(|step| step.id == row.id) {
                        Some(step) => *step = row,
                        None => entry.steps.push(row),
                    }
                }
            }
        }
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
