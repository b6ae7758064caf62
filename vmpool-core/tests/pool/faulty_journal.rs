//! A journal that takes its time, and at some commits fails: before it has
//! written, or after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, JournalError, MachineRow, MemoryJournal,
    OrderRow, Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};
use vmpool_core::testkit::FaultPlan;
use vmpool_core::{Journal, MachineId, OrderId, PoolConfig, PoolName, StageId, Term};

use crate::harness::World;

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing is written, and it says so.
    Unavailable,
    /// It is written, and says that it does not know.
    WrittenInDoubt,
    /// It is not written, and says that it does not know.
    UnwrittenInDoubt,
    /// It says that it does not know, and is written just before the next commit.
    WrittenLate,
}

/// A journal in memory with a plan of failures.
#[derive(Default)]
pub(crate) struct FaultyJournal {
    pub(crate) rows: MemoryJournal,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    /// Each commit takes this long, half of it before it is written.
    takes: Duration,
    commits: u64,
    at: HashMap<u64, Failure>,
    next: Option<(&'static str, Failure)>,
    away: bool,
    late: Option<Batch>,
}

/// A pool on such a journal.
pub(crate) async fn world(warm: u32, limit: u32, journal: &Arc<FaultyJournal>) -> World {
    let config = PoolConfig::new("linux", warm, limit);
    World::on(config, FaultPlan::none(), journal.clone()).await
}

impl FaultyJournal {
    pub(crate) fn quick() -> Arc<Self> {
        Self::slow(Duration::ZERO)
    }

    pub(crate) fn slow(takes: Duration) -> Arc<Self> {
        let journal = Self::default();
        journal.plan.lock().takes = takes;
        Arc::new(journal)
    }

    /// The `nth` commit from 1 fails so.
    pub(crate) fn fail_at(&self, nth: u64, how: Failure) {
        self.plan.lock().at.insert(nth, how);
    }

    /// The next commit with an event of this name fails so.
    pub(crate) fn fail_next(&self, what: &'static str, how: Failure) {
        self.plan.lock().next = Some((what, how));
    }

    /// While true, it takes and answers nothing.
    pub(crate) fn away(&self, away: bool) {
        self.plan.lock().away = away;
    }

    fn failure(&self, batch: &Batch) -> (Duration, Option<Failure>) {
        let mut plan = self.plan.lock();
        plan.commits += 1;
        let nth = plan.commits;
        let mut failure = plan.at.remove(&nth);
        if let Some((what, how)) = plan.next
            && batch.changes.iter().any(|change| change.what == what)
        {
            plan.next = None;
            failure = Some(how);
        }
        if plan.away {
            failure = Some(Failure::Unavailable);
        }
        (plan.takes / 2, failure)
    }

    fn readable(&self) -> Result<(), JournalError> {
        if self.plan.lock().away {
            return Err(JournalError {
                attempted: "read".to_owned(),
                reason: "the test says so".to_owned(),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        self.rows.raise_term(pool, now).await
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        self.rows.take(pool, holder, lease, now).await
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        self.rows.renew(pool, term, lease, now).await
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.rows.give_up(pool, term, now).await
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        self.rows.cordon(pool, term, cordon).await
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        self.rows.pools(now).await
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        self.rows.order(id).await
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        self.rows.ledger(after, limit).await
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.rows.history(key, limit).await
    }

    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError> {
        self.rows.compact(keep, now).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let (half, failure) = self.failure(&batch);
        let reason = "the test says so".to_owned();
        if !half.is_zero() {
            tokio::time::sleep(half).await;
        }
        let late = self.plan.lock().late.take();
        if let Some(late) = late {
            self.rows.commit(late).await?;
        }
        let result = match failure {
            None => self.rows.commit(batch).await,
            Some(Failure::Unavailable) => Err(CommitError::Unavailable { reason }),
            Some(Failure::UnwrittenInDoubt) => Err(CommitError::Ambiguous { reason }),
            Some(Failure::WrittenLate) => {
                self.plan.lock().late = Some(batch);
                Err(CommitError::Ambiguous { reason })
            }
            Some(Failure::WrittenInDoubt) => {
                self.rows.commit(batch).await?;
                Err(CommitError::Ambiguous { reason })
            }
        };
        if !half.is_zero() {
            tokio::time::sleep(half).await;
        }
        result
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        self.readable()?;
        self.rows.pool(pool).await
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        self.readable()?;
        self.rows.machine(id).await
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        self.readable()?;
        self.rows.stage(id).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.rows.events(after, limit).await
    }
}
