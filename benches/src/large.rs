//! Ten thousand machines in one runner: claims, the reconciler, a burst, a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vmpool_core::journal::MemoryJournal;
use vmpool_core::reconcile::{Absences, Input, Known, Past, plan};
use vmpool_core::{AcquireRequest, Clock, Journal};

use crate::durable::at_once;
use crate::spread::{Short, Spread};
use crate::store::Store;
use crate::table::Row;
use crate::world::World;

const MANY: u32 = 10_000;
/// Those of them that are ready; the others have stages.
const WARM: u32 = 50;
const ROUNDS: u32 = 200;
const DURABLE_ROUNDS: u32 = 20;
const PASSES: usize = 20;
const BURST: u32 = 1_000;

/// The reconciler, and claims in memory.
pub(crate) async fn run() -> Result<Vec<Row>> {
    let journal = Arc::new(MemoryJournal::new());
    let few = World::new(WARM, WARM, Arc::new(MemoryJournal::new())).await?;
    let many = World::new(WARM, MANY, journal.clone()).await?;
    many.occupy(MANY - WARM).await?;
    let claims = claims(&few, &many, ROUNDS, "memory journal").await?;
    let reconciled = reconcile(&many, &*journal).await?;
    few.end().await;
    many.end().await;
    Ok(vec![claims, reconciled])
}

/// Claims on disk.
pub(crate) async fn durable(store: &Store) -> Result<Row> {
    let few = store.open(&store.place("few")).await?;
    let few = World::new(WARM, WARM, few).await?;
    let many = store.open(&store.place("many")).await?;
    let many = World::new(WARM, MANY, many).await?;
    many.occupy(MANY - WARM).await?;
    let row = claims(&few, &many, DURABLE_ROUNDS, store.title()).await?;
    few.end().await;
    many.end().await;
    Ok(row)
}

/// In turns, so that both see the same of whatever else the machine does.
async fn claims(few: &World, many: &World, rounds: u32, journal: &str) -> Result<Row> {
    let (mut of_few, mut of_many) = (Spread::default(), Spread::default());
    for round in 0..rounds {
        few.ready(WARM).await?;
        many.ready(WARM).await?;
        claim(few, round, &mut of_few).await?;
        claim(many, round, &mut of_many).await?;
    }
    many.ready(WARM).await?;
    let more = of_many.at(99).as_secs_f64() / of_few.at(99).as_secs_f64() - 1.0;
    Ok(Row {
        what: format!("acquire with 10 000 machines in the runner, {journal}"),
        budget: "p99 within 10 % of 50 machines",
        ours: format!("{}; p99 {:+.0} %", of_many.cell(), more * 100.0),
        baseline: format!("with 50 machines {}", of_few.cell()),
    })
}

async fn claim(world: &World, round: u32, spread: &mut Spread) -> Result<()> {
    let requests: Vec<_> = (0..WARM)
        .map(|n| AcquireRequest::new(format!("build-{round}-{n}")))
        .collect();
    let mut stages = Vec::with_capacity(requests.len());
    for request in requests {
        let begun = Instant::now();
        let lease = world.pool.acquire(request).await?;
        spread.add(begun.elapsed());
        stages.push(lease.stage().clone());
    }
    world.release(&stages).await
}

/// What the pool does with a listing: its rows by their ids, and the plan.
async fn reconcile(world: &World, journal: &dyn Journal) -> Result<Row> {
    let rows = journal.pool(&"bench".into()).await?;
    ensure!(rows.machines.len() >= MANY as usize, "they are all there");
    let listing = world.listing().await?;
    let (mut spread, mut absences) = (Spread::default(), Absences::default());
    for _ in 0..PASSES {
        let begun = Instant::now();
        let machines = rows.machines.iter().cloned();
        let known = Known::new(machines, []);
        ensure!(known.strangers(&listing).count() == 0, "none is unknown");
        let input = Input {
            known: &known,
            past: &Past::new(),
            listing: &listing,
            window: Duration::ZERO,
            now: Clock::system().now(),
            may_end: 10,
            answers: &|_| true,
        };
        let plan = plan(&input, &mut absences);
        drop(known);
        spread.add(begun.elapsed());
        ensure!(plan.actions.is_empty(), "all is well: {:?}", plan.actions);
    }
    Ok(Row {
        what: "a reconcile pass over 10 000 machines".to_owned(),
        budget: "≤ 1 s of CPU",
        ours: spread.cell(),
        baseline: "–".to_owned(),
    })
}

/// From the first of a thousand requests until the pool is as large again.
pub(crate) async fn burst(store: &Store) -> Result<Row> {
    let journal = store.open(&store.place("burst")).await?;
    let world = World::new(BURST, 2 * BURST, journal).await?;
    world.ready(BURST).await?;
    let begun = Instant::now();
    let (_, served, _) = at_once(&world, BURST, "burst").await?;
    world.ready(BURST).await?;
    let refilled = begun.elapsed();
    world.end().await;
    let bare = store.bare().await?;
    let begun = Instant::now();
    for _ in 0..BURST {
        bare.commit().await?;
    }
    Ok(Row {
        what: format!("refill after a burst of 1 000, {}", store.title()),
        budget: "–",
        ours: format!(
            "{} from the first request until 1 000 are ready again; all served within {}",
            Short(refilled),
            Short(served)
        ),
        baseline: format!(
            "1 000 commits one after the other {}",
            Short(begun.elapsed())
        ),
    })
}

/// From opening the journal until the first request has its machine.
pub(crate) async fn restart(store: &Store) -> Result<Row> {
    let place = store.place("restart");
    let half = MANY / 2;
    let remains = {
        let world = World::new(WARM, half + WARM, store.open(&place).await?).await?;
        world.occupy(half).await?;
        world.ready(WARM).await?;
        world.crash()
    };
    let begun = Instant::now();
    let journal = store.open(&place).await?;
    let opened = begun.elapsed();
    let rows = journal.pool(&"bench".into()).await?;
    let found = rows.machines.len() + rows.stages.len();
    ensure!(found >= MANY as usize, "{found} rows");
    drop(rows);
    let begun = Instant::now();
    let world = remains.start(journal).await?;
    let started = begun.elapsed();
    let lease = world.acquire("first").await.context("the first request")?;
    let first = begun.elapsed();
    ensure!(lease.stage().as_str() == "first", "its own");
    world.end().await;
    Ok(Row {
        what: format!("restart with 10 000 rows, {}", store.title()),
        budget: "–",
        ours: format!(
            "{} until the first request has its machine: {} to open the journal, {} to read it",
            Short(opened + first),
            Short(opened),
            Short(started)
        ),
        baseline: "–".to_owned(),
    })
}
