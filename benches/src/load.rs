//! The delegate's calls on the real runner, over HTTP, with machines of a fake
//! EC2 whose agents answer at once: what a build pays for the runner alone.
//!
//! Calls come from connections that stay open, as a delegate's do. Machines are
//! warm at each call; those that are used are replaced meanwhile, which is in
//! the figures.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use fake_ec2::Timing;
use tokio::task::JoinSet;

use crate::agents::AtOnce;
use crate::site::{Caller, Pool, Site};
use crate::spread::Spread;
use crate::store::Store;
use crate::table::Row;

const WARM: usize = 50;
/// Enough for a hundred at once, and for the memory of a further machine.
const MORE_WARM: usize = 250;
/// Builds of a round, of those one after the other: below the warm size.
const SERIAL: usize = 40;
const SERIAL_ROUNDS: usize = 5;
const ROUNDS: usize = 5;

pub(crate) fn run() -> Result<Vec<Row>> {
    let Some(program) = std::env::var_os("VMPOOL_PROGRAM") else {
        eprintln!("  left out: `cargo xtask figures` names the program");
        return Ok(Vec::new());
    };
    crate::runtime()?.block_on(measure(Path::new(&program)))
}

/// How long each call took.
#[derive(Default)]
struct Calls {
    setup: Spread,
    step: Spread,
    destroy: Spread,
}

impl Calls {
    fn join(self, other: Self) -> Self {
        Self {
            setup: self.setup.join(other.setup),
            step: self.step.join(other.step),
            destroy: self.destroy.join(other.destroy),
        }
    }
}

async fn measure(program: &Path) -> Result<Vec<Row>> {
    let mut commit = commits().await?;

    let site = site(program, WARM).await?;
    let (resident, own) = (site.resident()?, site.memory()?);
    let mut serial = Calls::default();
    for round in 0..SERIAL_ROUNDS {
        let mut caller = site.caller().await?;
        for n in 0..SERIAL {
            build(&mut caller, &format!("serial-{round}-{n}"), &mut serial).await?;
        }
        site.ready(WARM).await?;
    }
    let mut twenty = together(&site, 20, WARM).await?;
    site.end().await;

    let site = self::site(program, MORE_WARM).await?;
    let more = site.memory()?;
    let mut hundred = together(&site, 100, MORE_WARM).await?;
    site.end().await;

    let each = more.saturating_sub(own) / (MORE_WARM - WARM) as u64;
    let baseline = format!("one SQLite commit of one row {}", commit.cell());
    let row = |what: &str, budget, spread: &mut Spread| Row {
        what: what.to_owned(),
        budget,
        ours: spread.cell(),
        baseline: baseline.clone(),
    };
    Ok(vec![
        row(
            "`/setup`, warm, one at a time",
            "p50 ≤ 0.8 ms, p99 ≤ 2 ms",
            &mut serial.setup,
        ),
        row(
            "`/setup`, warm, 20 at once",
            "p50 ≤ 4.5 ms",
            &mut twenty.setup,
        ),
        row("`/setup`, warm, 100 at once", "–", &mut hundred.setup),
        row("`/step`, one at a time", "p50 ≤ 0.4 ms", &mut serial.step),
        row("`/step`, 20 at once", "≤ 2 ms", &mut twenty.step),
        row("`/step`, 100 at once", "–", &mut hundred.step),
        row(
            "`/destroy`, one at a time",
            "p50 ≤ 1 ms",
            &mut serial.destroy,
        ),
        row("`/destroy`, 20 at once", "–", &mut twenty.destroy),
        row("`/destroy`, 100 at once", "–", &mut hundred.destroy),
        Row {
            what: format!("memory of the runner with {WARM} warm machines"),
            budget: "≤ 25 MB; ≤ 64 KB a further machine",
            ours: format!(
                "{:.1} MB, {:.1} MB of it its own; {} KB a further machine",
                megabytes(resident),
                megabytes(own),
                each >> 10
            ),
            baseline: "–".to_owned(),
        },
    ])
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn site(program: &Path, warm: usize) -> Result<Site> {
    let pool = Pool {
        warm,
        limit: warm * 4,
        timing: Timing::instant(),
    };
    let site = Site::start(program, pool, |disks| Arc::new(AtOnce::new(disks))).await?;
    site.ready(warm).await?;
    Ok(site)
}

/// A build of one step.
async fn build(caller: &mut Caller, stage: &str, calls: &mut Calls) -> Result<()> {
    calls.setup.add(caller.setup(stage).await?);
    calls.step.add(caller.step(stage, "true").await?);
    calls.destroy.add(caller.destroy(stage).await?);
    Ok(())
}

/// So many callers, each of whom makes the same call at the same moment.
async fn together(site: &Site, callers: usize, warm: usize) -> Result<Calls> {
    let mut all = Calls::default();
    for round in 0..ROUNDS {
        site.ready(warm).await?;
        let barrier = Arc::new(tokio::sync::Barrier::new(callers));
        let mut tasks = JoinSet::new();
        for n in 0..callers {
            let mut caller = site.caller().await?;
            let (barrier, stage) = (barrier.clone(), format!("of-{callers}-{round}-{n}"));
            tasks.spawn(async move {
                let mut calls = Calls::default();
                barrier.wait().await;
                calls.setup.add(caller.setup(&stage).await?);
                barrier.wait().await;
                calls.step.add(caller.step(&stage, "true").await?);
                barrier.wait().await;
                calls.destroy.add(caller.destroy(&stage).await?);
                anyhow::Ok(calls)
            });
        }
        while let Some(calls) = tasks.join_next().await {
            all = all.join(calls.context("a caller's task")??);
        }
    }
    Ok(all)
}

/// Bare commits on the same disk.
async fn commits() -> Result<Spread> {
    let store = Store::sqlite()?;
    let bare = store.bare().await?;
    let mut spread = Spread::default();
    for _ in 0..SERIAL * SERIAL_ROUNDS {
        let begun = std::time::Instant::now();
        bare.commit().await?;
        spread.add(begun.elapsed());
    }
    Ok(spread)
}
