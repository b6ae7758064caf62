//! Acquire where the claim is on disk before it is answered, against one bare
//! commit on the same disk, measured in turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use vmpool_core::AcquireRequest;

use crate::spread::{Short, Spread};
use crate::store::Store;
use crate::table::Row;
use crate::world::World;

const MACHINES: u32 = 50;
const ROUNDS: u32 = 20;
/// Requests at once.
const TOGETHER: u32 = 100;
const TOGETHER_ROUNDS: u32 = 10;

pub(crate) async fn run(store: &Store) -> Result<Vec<Row>> {
    Ok(vec![one_at_a_time(store).await?, together(store).await?])
}

async fn one_at_a_time(store: &Store) -> Result<Row> {
    let journal = store.open(&store.place("one")).await?;
    let bare = store.bare().await?;
    let world = World::new(MACHINES, MACHINES, journal).await?;
    let (mut ours, mut theirs) = (Spread::default(), Spread::default());
    for round in 0..ROUNDS {
        world.ready(MACHINES).await?;
        let mut stages = Vec::new();
        for n in 0..MACHINES {
            let request = AcquireRequest::new(format!("build-{round}-{n}"));
            let begun = Instant::now();
            let lease = world.pool.acquire(request).await?;
            ours.add(begun.elapsed());
            stages.push(lease.stage().clone());
            let begun = Instant::now();
            bare.commit().await?;
            theirs.add(begun.elapsed());
        }
        world.release(&stages).await?;
    }
    world.end().await;
    let times = ours.at(50).as_secs_f64() / theirs.at(50).as_secs_f64();
    Ok(Row {
        what: format!("durable acquire, {}", store.title()),
        budget: "p50 ≤ 1.5 × one commit",
        ours: format!("{}; {times:.2} × one commit", ours.cell()),
        baseline: format!("one commit of one row {}", theirs.cell()),
    })
}

/// Requests at once, each timed by itself; and how long until the last has its machine.
pub(crate) async fn at_once(
    world: &World,
    count: u32,
    round: &str,
) -> Result<(Spread, Duration, Vec<vmpool_core::StageId>)> {
    let mut requests = JoinSet::new();
    let all = Instant::now();
    for n in 0..count {
        let pool = world.pool.clone();
        let request = AcquireRequest::new(format!("build-{round}-{n}"));
        requests.spawn(async move {
            let begun = Instant::now();
            let lease = pool.acquire(request).await?;
            anyhow::Ok((begun.elapsed(), lease.stage().clone()))
        });
    }
    let (mut spread, mut stages) = (Spread::default(), Vec::new());
    for answer in requests.join_all().await {
        let (took, stage) = answer?;
        spread.add(took);
        stages.push(stage);
    }
    Ok((spread, all.elapsed(), stages))
}

async fn together(store: &Store) -> Result<Row> {
    let journal = store.open(&store.place("together")).await?;
    let bare = store.bare().await?;
    let world = World::new(TOGETHER, TOGETHER, journal).await?;
    let mut requests = Spread::default();
    let (mut ours, mut theirs) = (Spread::default(), Spread::default());
    for round in 0..TOGETHER_ROUNDS {
        world.ready(TOGETHER).await?;
        let (spread, all, stages) = at_once(&world, TOGETHER, &round.to_string()).await?;
        requests = requests.join(spread);
        ours.add(all);
        let begun = Instant::now();
        for _ in 0..TOGETHER {
            bare.commit().await?;
        }
        theirs.add(begun.elapsed());
        world.release(&stages).await?;
    }
    world.end().await;
    let (ours, theirs) = (ours.at(50), theirs.at(50));
    let commits = ours.as_secs_f64() / theirs.as_secs_f64() * f64::from(TOGETHER);
    Ok(Row {
        what: format!("{TOGETHER} durable acquires at once, {}", store.title()),
        budget: "they share commits",
        ours: format!(
            "all within {}, as long as {commits:.0} commits; each {}",
            Short(ours),
            requests.cell()
        ),
        baseline: format!("{TOGETHER} commits one after the other {}", Short(theirs)),
    })
}
