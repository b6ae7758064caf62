//! One task claims machines that are ready, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::PoolParts;
use vmpool_core::testkit::{FakeProvider, SimLink};
use vmpool_core::{AcquireRequest, Clock, Pool, PoolConfig, WarmPool};

use crate::spread::Spread;
use crate::table::Row;

/// Machines that are ready at the beginning of a round.
const MACHINES: u32 = 50;
/// Rounds; between two of them the pool replaces every machine.
const ROUNDS: u32 = 400;
const CLAIMS: u32 = MACHINES * ROUNDS;

pub(crate) fn run() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let mut ours = ours().await?;
        let mut deadpool = deadpool().await?;
        let mut bb8 = bb8().await?;
        Ok(vec![Row {
            what: "claim of a ready machine, uncontended (memory journal, no executor)".to_owned(),
            budget: "p50 ≤ 0.3 µs, p99 ≤ 1 µs",
            ours: ours.cell(),
            baseline: format!("deadpool {}; bb8 {}", deadpool.cell(), bb8.cell()),
        }])
    })
}

async fn ours() -> Result<Spread> {
    let clock = Clock::system();
    let provider = FakeProvider::new(clock);
    let parts = PoolParts::new(
        provider.clone(),
        SimLink::new(clock),
        Arc::new(MemoryJournal::new()),
        clock,
    );
    let config = PoolConfig::new("bench", MACHINES, MACHINES);
    let pool = WarmPool::start(config, parts).await?;
    let mut events = pool.events();
    let mut spread = Spread::with_capacity(CLAIMS as usize);
    let mut gone = Vec::new();
    for round in 0..ROUNDS {
        while pool.status().ready < MACHINES {
            events.next().await.context("the pool went away")?;
        }
        // A cloud forgets what is gone. This one would count all that ever were
        // at each launch, which is no work of the pool's and empties its caches.
        for machine in gone.drain(..) {
            provider.forget(&machine);
        }
        // Nobody listens while claims are timed.
        drop(events);
        let requests: Vec<_> = (0..MACHINES)
            .map(|n| AcquireRequest::new(format!("build-{round}-{n}")))
            .collect();
        let mut leases = Vec::with_capacity(requests.len());
        for request in requests {
            let begun = Instant::now();
            let lease = pool.acquire(request).await?;
            spread.add(begun.elapsed());
            leases.push(lease);
        }
        events = pool.events();
        for lease in leases {
            pool.release(lease.stage()).await?;
            gone.push(lease.machine_id().clone());
        }
    }
    pool.shutdown(Duration::from_secs(60)).await;
    Ok(spread)
}

/// Hands out a number: the least a pool can do.
#[derive(Debug)]
pub(crate) struct Numbers;

impl deadpool::managed::Manager for Numbers {
    type Type = u64;
    type Error = std::convert::Infallible;

    async fn create(&self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    async fn recycle(
        &self,
        _: &mut u64,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Self::Error> {
        Ok(())
    }
}

impl bb8::ManageConnection for Numbers {
    type Connection = u64;
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    async fn is_valid(&self, _: &mut u64) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut u64) -> bool {
        false
    }
}

async fn deadpool() -> Result<Spread> {
    let pool = deadpool::managed::Pool::<Numbers>::builder(Numbers)
        .max_size(8)
        .build()?;
    drop(pool.get().await?);
    let mut spread = Spread::with_capacity(CLAIMS as usize);
    for _ in 0..CLAIMS {
        let begun = Instant::now();
        let object = pool.get().await?;
        spread.add(begun.elapsed());
        drop(object);
    }
    Ok(spread)
}

async fn bb8() -> Result<Spread> {
    let pool = bb8::Pool::builder().max_size(8).build(Numbers).await?;
    drop(pool.get().await?);
    let mut spread = Spread::with_capacity(CLAIMS as usize);
    for _ in 0..CLAIMS {
        let begun = Instant::now();
        let object = pool.get().await?;
        spread.add(begun.elapsed());
        drop(object);
    }
    Ok(spread)
}
