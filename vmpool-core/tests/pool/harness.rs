//! A pool with all that it stands on, and what tests do with it again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vmpool_core::pool::{AcquireError, PoolParts, PoolStatus, Rule, Salvage};
use vmpool_core::testkit::{FakeProvider, FaultPlan, SimLink, assert_accounted, eventually};
use vmpool_core::{
    AcquireRequest, Clock, Journal, Lease, Pool, PoolConfig, Provider, WarmPool,
    journal::MemoryJournal,
};

/// A pool and its world.
pub(crate) struct World {
    pub(crate) pool: WarmPool,
    pub(crate) provider: Arc<FakeProvider>,
    pub(crate) link: Arc<SimLink>,
    pub(crate) config: PoolConfig,
    pub(crate) parts: PoolParts,
}

impl World {
    pub(crate) async fn new(warm: u32, limit: u32) -> Self {
        Self::with(PoolConfig::new("linux", warm, limit), FaultPlan::none()).await
    }

    pub(crate) async fn with(config: PoolConfig, plan: FaultPlan) -> Self {
        Self::on(config, plan, Arc::new(MemoryJournal::new())).await
    }

    pub(crate) async fn on(config: PoolConfig, plan: FaultPlan, journal: Arc<dyn Journal>) -> Self {
        Self::over(config, plan, journal, |provider| provider).await
    }

    /// A pool that sees the cloud through what `wrap` makes of it.
    pub(crate) async fn over(
        config: PoolConfig,
        plan: FaultPlan,
        journal: Arc<dyn Journal>,
        wrap: impl FnOnce(Arc<FakeProvider>) -> Arc<dyn Provider>,
    ) -> Self {
        let clock = Clock::system();
        let provider = FakeProvider::with_plan(clock, plan);
        let link = SimLink::new(clock);
        let parts = PoolParts::new(wrap(provider.clone()), link.clone(), journal, clock);
        Self::of(config, parts, provider, link).await
    }

    /// A pool under a lease, which the sender says to hold or not.
    pub(crate) async fn ruled(config: PoolConfig) -> (Self, watch::Sender<bool>) {
        let clock = Clock::system();
        let provider = FakeProvider::new(clock);
        let link = SimLink::new(clock);
        let journal = Arc::new(MemoryJournal::new());
        let parts = PoolParts::new(provider.clone(), link.clone(), journal.clone(), clock);
        let term = journal.raise_term(&config.name, clock.now()).await;
        let (holds, may_write) = watch::channel(true);
        let rule = Rule {
            term: term.expect("a journal in memory takes it"),
            may_write,
        };
        let pool = WarmPool::start_under(config.clone(), parts.clone(), rule);
        let world = Self {
            pool: pool.await.expect("the pool starts"),
            provider,
            link,
            config,
            parts,
        };
        (world, holds)
    }

    /// A pool whose machines hold something that `salvage` saves.
    pub(crate) async fn saving(config: PoolConfig, salvage: Arc<dyn Salvage>) -> Self {
        let clock = Clock::system();
        let provider = FakeProvider::new(clock);
        let link = SimLink::new(clock);
        let journal = Arc::new(MemoryJournal::new());
        let parts = PoolParts::new(provider.clone(), link.clone(), journal, clock);
        Self::of(config, parts.with_salvage(salvage), provider, link).await
    }

    async fn of(
        config: PoolConfig,
        parts: PoolParts,
        provider: Arc<FakeProvider>,
        link: Arc<SimLink>,
    ) -> Self {
        let pool = WarmPool::start(config.clone(), parts.clone())
            .await
            .expect("the pool starts");
        Self {
            pool,
            provider,
            link,
            config,
            parts,
        }
    }

    /// The pool is dropped as a crash drops it, and another starts on its journal.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            pool,
            provider,
            link,
            config,
            parts,
        } = self;
        drop(pool);
        Self::of(config, parts, provider, link).await
    }

    pub(crate) fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&PoolStatus) -> bool) {
        let show = || format!("{what}: {:?}", self.status());
        eventually(show, || holds(&self.status())).await;
    }

    pub(crate) async fn ready(&self, count: u32) {
        self.until("ready", |status| status.ready == count).await;
    }

    pub(crate) async fn acquire(&self, stage: &str) -> Result<Lease, AcquireError> {
        self.pool.acquire(AcquireRequest::new(stage)).await
    }

    pub(crate) async fn lease(&self, stage: &str) -> Lease {
        self.acquire(stage).await.expect("a machine comes")
    }

    pub(crate) async fn release(&self, stage: &str) {
        self.pool
            .release(&stage.into())
            .await
            .expect("the journal takes it");
    }

    /// Ends the pool and checks that nothing is left (P1) and the limit held (P7).
    pub(crate) async fn end(self) {
        let left = self.pool.shutdown(Duration::from_secs(600)).await;
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.provider.alive(), []);
        assert_accounted(&self.status(), &self.provider);
    }
}

/// A request that waits at most so long.
pub(crate) fn patient(stage: &str, wait: Duration) -> AcquireRequest {
    AcquireRequest {
        wait: Some(wait),
        ..AcquireRequest::new(stage)
    }
}
