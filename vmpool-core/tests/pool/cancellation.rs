//! Nothing is lost, wherever a request is dropped.
//!
//! A journal that yields before and after it writes gives every await of
//! `acquire` a place where it can be dropped. The test drops it at the first,
//! the second, … poll, until it runs through.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, JournalError, MachineRow, MemoryJournal,
    OrderRow, Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};
use vmpool_core::testkit::FaultPlan;
use vmpool_core::{
    AcquireRequest, Journal, MachineId, OrderId, PoolConfig, PoolName, StageId, Term,
};

use crate::harness::World;

/// Yields around every write.
#[derive(Default)]
struct Hesitant(MemoryJournal);

#[async_trait]
impl Journal for Hesitant {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        self.0.raise_term(pool, now).await
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        self.0.take(pool, holder, lease, now).await
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        self.0.renew(pool, term, lease, now).await
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.0.give_up(pool, term, now).await
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        self.0.cordon(pool, term, cordon).await
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        self.0.pools(now).await
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        self.0.order(id).await
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        self.0.ledger(after, limit).await
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.0.history(key, limit).await
    }

    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError> {
        self.0.compact(keep, now).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        tokio::task::yield_now().await;
        let result = self.0.commit(batch).await;
        tokio::task::yield_now().await;
        result
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        self.0.pool(pool).await
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        self.0.machine(id).await
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        self.0.stage(id).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.0.events(after, limit).await
    }
}

/// Polls `future` at most `polls` times, then drops it. True if it ended.
async fn dropped_after(polls: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(cx).map(|_| true)
    })
    .await
}

async fn drop_at_every_poll(warm: u32) {
    for polls in 0.. {
        let config = PoolConfig::new("linux", warm, 1);
        let world = World::on(config, FaultPlan::none(), Arc::new(Hesitant::default())).await;
        world.ready(warm).await;
        let through =
            dropped_after(polls, world.pool.acquire(AcquireRequest::new("build-1"))).await;

        // A retry gets a machine, whatever became of the first: its own claim, or another.
        let lease = world.lease("build-1").await;
        assert_eq!(world.status().claimed, 1, "dropped after {polls} polls");
        assert_eq!(world.provider.alive(), [lease.machine_id().clone()]);
        world.release("build-1").await;
        // And nothing keeps the only slot from the next one.
        world.lease("build-2").await;
        world.end().await;
        if through {
            assert!(polls > 2, "the journal's yields were seen");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_request_dropped_at_any_await_loses_nothing() {
    drop_at_every_poll(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_dropped_at_any_await_loses_nothing() {
    drop_at_every_poll(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_off_claim_that_nobody_retries_ends_at_the_prepare_deadline() {
    let config = PoolConfig::new("linux", 1, 1);
    let world = World::on(config, FaultPlan::none(), Arc::new(Hesitant::default())).await;
    world.ready(1).await;
    // Dropped after the write, before the answer.
    let through = dropped_after(2, world.pool.acquire(AcquireRequest::new("build-1"))).await;
    assert!(!through);
    world
        .until("claimed or drained", |status| status.ready == 0)
        .await;
    tokio::time::sleep(world.config.deadlines.prepare + Duration::from_secs(1)).await;
    world.ready(1).await;
    world.end().await;
}
