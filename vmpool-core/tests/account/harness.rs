//! Pools that share an account, a cloud and a journal.

use std::sync::Arc;
use std::time::Duration;

use vmpool_core::Place;
use vmpool_core::account::{Account, AccountConfig};
use vmpool_core::journal::{MemoryJournal, RowKey};
use vmpool_core::pool::{PoolParts, PoolStatus};
use vmpool_core::testkit::{FakeProvider, FaultPlan, SimLink, eventually};
use vmpool_core::{AcquireRequest, Clock, Journal, Pool, PoolConfig, WarmPool};

/// What the pools of a test share.
pub(crate) struct World {
    pub(crate) account: Account,
    pub(crate) provider: Arc<FakeProvider>,
    pub(crate) link: Arc<SimLink>,
    pub(crate) journal: Arc<MemoryJournal>,
    clock: Clock,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(AccountConfig::default())
    }

    pub(crate) fn with(config: AccountConfig) -> Self {
        Self::of(config, Vec::new())
    }

    pub(crate) fn of(config: AccountConfig, places: Vec<Place>) -> Self {
        let clock = Clock::system();
        Self {
            account: Account::new(config),
            provider: FakeProvider::in_places(clock, FaultPlan::none(), places),
            link: SimLink::new(clock),
            journal: Arc::new(MemoryJournal::new()),
            clock,
        }
    }

    /// Another cloud that the same account pays for, with a journal of its own,
    /// because its machines have the same names.
    pub(crate) fn beside(&self) -> Self {
        Self {
            account: self.account.clone(),
            provider: FakeProvider::new(self.clock),
            link: self.link.clone(),
            journal: Arc::new(MemoryJournal::new()),
            clock: self.clock,
        }
    }

    pub(crate) async fn pool(&self, name: &str, warm: u32, limit: u32) -> WarmPool {
        self.start(PoolConfig::new(name, warm, limit)).await
    }

    pub(crate) async fn start(&self, config: PoolConfig) -> WarmPool {
        let (provider, link) = (self.provider.clone(), self.link.clone());
        let parts = PoolParts::new(provider, link, self.journal.clone(), self.clock);
        let pool = WarmPool::start(config, parts.with_account(self.account.clone()));
        pool.await.expect("the pool starts")
    }

    /// What the journal tells of a stage: what, and why.
    pub(crate) async fn told(&self, stage: &str) -> Vec<(String, String)> {
        // Notes are written by a task that nobody waits for.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let key = RowKey::Stage(stage.into());
        let history = self.journal.history(&key, 100).await.expect("readable");
        let told = history.into_iter();
        told.map(|event| (event.what.into_owned(), event.cause.into_owned()))
            .collect()
    }

    /// Ends the pools; nothing may be left (P1).
    pub(crate) async fn end(self, pools: impl IntoIterator<Item = WarmPool>) {
        for pool in pools {
            let left = pool.shutdown(Duration::from_hours(1)).await;
            assert!(left.is_empty(), "{left:?}");
        }
        assert_eq!(self.provider.alive(), []);
    }
}

/// Waits until the pool's status is so.
pub(crate) async fn until(pool: &WarmPool, what: &str, holds: impl Fn(&PoolStatus) -> bool) {
    let show = || format!("{what}: {:?}", pool.status());
    eventually(show, || holds(&pool.status())).await;
}

pub(crate) async fn lease(pool: &WarmPool, stage: &str) -> vmpool_core::Lease {
    let lease = pool.acquire(AcquireRequest::new(stage)).await;
    lease.expect("a machine comes")
}

/// A request that waits for as long as a test may take.
pub(crate) fn patient(stage: &str) -> AcquireRequest {
    AcquireRequest {
        wait: Some(Duration::from_hours(24)),
        ..AcquireRequest::new(stage)
    }
}
