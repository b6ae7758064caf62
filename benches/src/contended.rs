//! 64 tasks claim, yield once and give back, on 8 machines and two threads.

use std::time::Instant;

use anyhow::{Result, anyhow};
use tokio::task::JoinSet;
use vmpool_core::pool::{Claiming, ReadyQueue};

use crate::claim::Numbers;
use crate::spread::Spread;
use crate::table::Row;

const TASKS: usize = 64;
const MACHINES: usize = 8;
const CLAIMS: usize = 4_000;

pub(crate) fn run() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut ours = ours(TASKS, MACHINES, CLAIMS).await?;
        let mut deadpool = deadpool().await?;
        let mut bb8 = bb8().await?;
        Ok(vec![Row {
            what: "the same, 64 tasks on 8 machines".to_owned(),
            budget: "p99 ≤ 20 µs",
            ours: ours.cell(),
            baseline: format!("deadpool {}; bb8 {}", deadpool.cell(), bb8.cell()),
        }])
    })
}

async fn joined(tasks: JoinSet<Result<Spread>>) -> Result<Spread> {
    let spreads = tasks
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    Ok(spreads.into_iter().fold(Spread::default(), Spread::join))
}

/// `tasks` tasks that each claim `claims` times, on `machines` machines.
pub(crate) async fn ours(tasks: usize, machines: usize, claims: usize) -> Result<Spread> {
    let queue = ReadyQueue::new();
    (0..machines).for_each(|machine| queue.offer(machine));
    let most = tasks;
    let mut tasks = JoinSet::new();
    for _ in 0..most {
        let queue = queue.clone();
        tasks.spawn(async move {
            let mut spread = Spread::with_capacity(claims);
            for _ in 0..claims {
                let begun = Instant::now();
                let claim = match queue.claim(most) {
                    Ok(Claiming::Now(claim)) => claim,
                    Ok(Claiming::Later(wait)) => wait.await.map_err(|e| anyhow!("{e:?}"))?,
                    Err(refusal) => return Err(anyhow!("{refusal:?}")),
                };
                spread.add(begun.elapsed());
                tokio::task::yield_now().await;
                drop(claim);
            }
            Ok(spread)
        });
    }
    joined(tasks).await
}

async fn deadpool() -> Result<Spread> {
    let pool = deadpool::managed::Pool::<Numbers>::builder(Numbers)
        .max_size(MACHINES)
        .build()?;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut spread = Spread::with_capacity(CLAIMS);
            for _ in 0..CLAIMS {
                let begun = Instant::now();
                let object = pool.get().await?;
                spread.add(begun.elapsed());
                tokio::task::yield_now().await;
                drop(object);
            }
            Ok(spread)
        });
    }
    joined(tasks).await
}

async fn bb8() -> Result<Spread> {
    let size = u32::try_from(MACHINES)?;
    let pool = bb8::Pool::builder().max_size(size).build(Numbers).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut spread = Spread::with_capacity(CLAIMS);
            for _ in 0..CLAIMS {
                let begun = Instant::now();
                let object = pool.get_owned().await?;
                spread.add(begun.elapsed());
                tokio::task::yield_now().await;
                drop(object);
            }
            Ok(spread)
        });
    }
    joined(tasks).await
}
