//! What a warm pool is for: from a build's `/setup` until its first step runs,
//! warm, and cold on machines that boot for 40 s. The real runner over its HTTP,
//! the real agent, and a fake EC2 whose machines are processes that start from
//! the very user data.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use fake_ec2::{AgentGuest, Processes, Span, Timing};
use tokio::task::JoinSet;

use crate::site::{Caller, Pool, Site};
use crate::spread::Spread;
use crate::table::Row;

/// From a launch until the machine's first instruction, as on EC2 for Linux.
const BOOT: Duration = Duration::from_secs(40);
const WARM: usize = 20;
/// Each of these takes a boot, but all at once.
const COLD: usize = 20;

pub(crate) fn run() -> Result<Vec<Row>> {
    let (Some(program), Some(agent)) = (
        std::env::var_os("VMPOOL_PROGRAM"),
        std::env::var_os("VMPOOL_AGENT"),
    ) else {
        eprintln!("  left out: `cargo xtask figures` names the programs");
        return Ok(Vec::new());
    };
    crate::runtime()?.block_on(measure(Path::new(&program), agent.into()))
}

async fn measure(program: &Path, agent: PathBuf) -> Result<Vec<Row>> {
    let mut cold = Spread::default();
    let site = site(program, &agent, 0).await?;
    let mut builds = JoinSet::new();
    for n in 0..COLD {
        let (port, logs) = (site.port(), site.logs());
        builds.spawn(async move { build(port, &logs, &format!("cold-{n}")).await });
    }
    while let Some(took) = builds.join_next().await {
        cold.add(took.context("a build's task")??);
    }
    site.end().await;

    let mut warm = Spread::default();
    let site = self::site(program, &agent, WARM).await?;
    for round in 0..2 {
        site.ready(WARM).await?;
        for n in 0..WARM {
            let stage = format!("warm-{round}-{n}");
            warm.add(build(site.port(), &site.logs(), &stage).await?);
        }
    }
    site.end().await;
    Ok(vec![Row {
        what: "from `/setup` until the first step runs, on a fake EC2 of 40 s boots".to_owned(),
        budget: "–",
        ours: format!("warm, one after the other: {}", warm.cell()),
        baseline: format!("cold, {COLD} at once: {}", cold.cell()),
    }])
}

async fn site(program: &Path, agent: &Path, warm: usize) -> Result<Site> {
    let pool = Pool {
        warm,
        limit: warm.max(COLD) * 2,
        timing: Timing {
            pending: Span::exactly(BOOT),
            ..Timing::instant()
        },
    };
    let guest = AgentGuest {
        agent: agent.to_owned(),
        port: 9079,
    };
    let machines = |disks| Arc::new(Processes::new(disks, Arc::new(guest))) as _;
    Site::start(program, pool, machines).await
}

/// From the request for a machine until its step began, by the host's clock.
async fn build(port: u16, logs: &Path, stage: &str) -> Result<Duration> {
    let mut caller = Caller::connect(port).await?;
    let asked = SystemTime::now().duration_since(UNIX_EPOCH)?;
    caller.setup(stage).await?;
    caller.step(stage, "date +%s%N").await?;
    let begun = std::fs::read_to_string(logs.join(stage).join("s.log"));
    let begun = begun.context("the step's log")?;
    let nanos = begun.trim().parse().context("the step's time")?;
    caller.destroy(stage).await?;
    Ok(Duration::from_nanos(nanos).saturating_sub(asked))
}
