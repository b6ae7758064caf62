//! A journal in memory: for tests, benches, and `exec`, whose deployment ends
//! with its process.

mod pools;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use self::rows::{Rows, StageEntry};
use super::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, Journal, JournalError, MachineRow,
    OrderRow, Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, PoolName, StageId, Term};

/// Keeps all rows in maps. What it says is durable lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    rows: Mutex<Rows>,
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
        let mut rows = self.rows.lock();
        Ok(rows.pools.entry(pool.clone()).or_default().raise(now))
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        let mut rows = self.rows.lock();
        let entry = rows.pools.entry(pool.clone()).or_default();
        Ok(entry.take(pool, holder, lease, now))
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let mut rows = self.rows.lock();
        let entry = rows.pools.get_mut(pool);
        Ok(entry.is_some_and(|entry| entry.renew(term, now.after(lease))))
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        if let Some(entry) = self.rows.lock().pools.get_mut(pool) {
            entry.give_up(term, now);
        }
        Ok(())
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        let mut rows = self.rows.lock();
        let entry = rows.pools.get_mut(pool).filter(|entry| entry.term == term);
        Ok(entry.map(|entry| entry.cordon = cordon.cloned()).is_some())
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        let rows = self.rows.lock();
        let pools = rows.pools.iter();
        Ok(pools
            .map(|(name, entry)| entry.ownership(name, now))
            .collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.rows.lock().commit(batch)
    }

    fn commit_now(&self, batch: Batch) -> Result<Result<(), CommitError>, Batch> {
        Ok(self.rows.lock().commit(batch))
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        let rows = self.rows.lock();
        Ok(PoolRows {
            orders: rows
                .orders
                .values()
                .filter(|row| row.pool == *pool && !row.state.is_settled())
                .cloned()
                .collect(),
            machines: rows
                .machines
                .values()
                .filter(|row| row.machine.pool == *pool && row.state.occupies_slot())
                .cloned()
                .collect(),
            stages: rows
                .stages
                .values()
                .filter(|entry| entry.row.pool == *pool && !entry.is_over())
                .map(StageEntry::record)
                .collect(),
            cordon: rows.pools.get(pool).and_then(|entry| entry.cordon.clone()),
        })
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        Ok(self.rows.lock().orders.get(id).cloned())
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        Ok(self.rows.lock().machines.get(id).cloned())
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        Ok(self.rows.lock().stages.get(id).map(StageEntry::record))
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        let rows = self.rows.lock();
        let skip = rows.events.partition_point(|event| event.seq <= after);
        Ok(rows.events.iter().skip(skip).take(limit).cloned().collect())
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        let rows = self.rows.lock();
        let of = |event: &&Event| match (key, &event.key) {
            (RowKey::Stage(stage), RowKey::Step(of, _)) => stage == of,
            (key, found) => key == found,
        };
        let latest = rows.events.iter().rev().filter(of).take(limit);
        let mut events: Vec<Event> = latest.cloned().collect();
        events.reverse();
        Ok(events)
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        let rows = self.rows.lock();
        let mut rows: Vec<_> = rows
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
