//! A pool over a provider and agents that answer at once, on a journal of choice.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use vmpool_core::pool::{Deadlines, PoolParts};
use vmpool_core::reconcile::ReconcileConfig;
use vmpool_core::testkit::{FakeProvider, SimLink};
use vmpool_core::{
    AcquireRequest, Clock, Journal, Lease, Pool, PoolConfig, Provider, StageId, WarmPool,
};

/// Nothing of a bench may run into a deadline, or into a regular pass.
const LONG: Duration = Duration::from_hours(24);

/// Requests at once where that is not what is measured.
const TOGETHER: usize = 250;

/// A pool and what it stands on.
pub(crate) struct World {
    pub(crate) pool: WarmPool,
    pub(crate) provider: Arc<FakeProvider>,
    link: Arc<SimLink>,
    config: PoolConfig,
}

/// The machines with their agents, which outlive the pool.
pub(crate) struct Remains {
    provider: Arc<FakeProvider>,
    link: Arc<SimLink>,
    config: PoolConfig,
}

impl Remains {
    /// A pool that goes on with them.
    pub(crate) async fn start(self, journal: Arc<dyn Journal>) -> Result<World> {
        let Self {
            provider,
            link,
            config,
        } = self;
        let clock = Clock::system();
        let parts = PoolParts::new(provider.clone(), link.clone(), journal, clock);
        let pool = WarmPool::start(config.clone(), parts).await?;
        Ok(World {
            pool,
            provider,
            link,
            config,
        })
    }
}

impl World {
    pub(crate) async fn new(warm: u32, limit: u32, journal: Arc<dyn Journal>) -> Result<Self> {
        let clock = Clock::system();
        let mut config = PoolConfig::new("bench", warm, limit);
        config.max_waiting = 20_000;
        config.deadlines = Deadlines {
            acquire: LONG,
            booting: LONG,
            prepare: LONG,
            ..Deadlines::default()
        };
        config.reconcile = ReconcileConfig {
            every: LONG,
            ..ReconcileConfig::default()
        };
        let remains = Remains {
            provider: FakeProvider::new(clock),
            link: SimLink::new(clock),
            config,
        };
        remains.start(journal).await
    }

    /// The pool is dropped as a crash drops it.
    pub(crate) fn crash(self) -> Remains {
        Remains {
            provider: self.provider,
            link: self.link,
            config: self.config,
        }
    }

    /// What the provider shows of the pool.
    pub(crate) async fn listing(&self) -> Result<vmpool_core::Listing> {
        Ok(self.provider.list(&self.config.owner).await?)
    }

    /// Waits until so many machines are ready.
    pub(crate) async fn ready(&self, count: u32) -> Result<()> {
        let mut events = self.pool.events();
        while self.pool.status().ready < count {
            events.next().await.context("the pool went away")?;
        }
        Ok(())
    }

    pub(crate) async fn acquire(&self, stage: &str) -> Result<Lease> {
        Ok(self.pool.acquire(AcquireRequest::new(stage)).await?)
    }

    /// Stages that have their machines for as long as the pool lives. A few at a
    /// time: a write must not wait for longer than the journal lets it.
    pub(crate) async fn occupy(&self, count: u32) -> Result<()> {
        let stages: Vec<u32> = (0..count).collect();
        for some in stages.chunks(TOGETHER) {
            let mut requests = JoinSet::new();
            for n in some {
                let pool = self.pool.clone();
                let request = AcquireRequest::new(format!("occupied-{n}"));
                requests.spawn(async move { pool.acquire(request).await });
            }
            for lease in requests.join_all().await {
                lease?;
            }
        }
        Ok(())
    }

    pub(crate) async fn release(&self, stages: &[StageId]) -> Result<()> {
        for stage in stages {
            self.pool.release(stage).await?;
        }
        Ok(())
    }

    /// Ends its tasks; its machines are nobody's money.
    pub(crate) async fn end(self) {
        self.pool.shutdown(Duration::ZERO).await;
    }
}
