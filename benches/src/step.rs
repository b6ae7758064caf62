//! Steps on a real agent of the local provider: `true`, a million lines, and
//! the agent's memory.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use vmpool_agent::{AgentExecutor, Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::PoolParts;
use vmpool_core::stage::Prepared;
use vmpool_core::{
    AcquireRequest, Clock, LogSink, LogSinkError, PoolConfig, Secret, Stage, StageSetup, Step,
    StepId, WarmPool,
};
use vmpool_local::{AgentCommand, LocalProvider};

use crate::memory;
use crate::spread::{Short, Spread};
use crate::table::Row;

const STEPS: usize = 300;
const SECRETS: usize = 50;
const LINES: &str = "seq 1000000";

pub(crate) fn run() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<Vec<Row>> {
    let clocks = Clocks {
        attached: true,
        ..Clocks::default()
    };
    let link = Agents::new(
        Arc::new(Authority::ephemeral()?),
        clocks,
        LinkConfig::default(),
    );
    let executor = Arc::new(AgentExecutor::new(link.clone()));
    let agent = match std::env::var_os("VMPOOL_AGENT") {
        Some(path) => AgentCommand::Path(PathBuf::from(path)),
        None => AgentCommand::ThisProgram,
    };
    let parts = PoolParts::new(
        Arc::new(LocalProvider::new(agent)?),
        Arc::new(link),
        Arc::new(MemoryJournal::new()),
        Clock::system(),
    );
    let pool = WarmPool::start(PoolConfig::new("bench", 1, 1), parts).await?;
    let lease = pool.acquire(AcquireRequest::new("bench")).await?;
    let machine = lease.machine_id().clone();
    let idle = memory::of_machine(&machine)?;

    let secrets = (0..SECRETS).map(|n| Secret::new(format!("a-secret-of-the-bench-{n:04}")));
    let setup = StageSetup {
        secrets: secrets.collect(),
        ..StageSetup::default()
    };
    let stage = Stage::new(lease, Arc::new(pool.clone()), executor);
    let stage = stage.init(&setup).await?;

    let (mut ours, mut baseline) = trues(&stage).await?;
    let overhead = ours.at(50).saturating_sub(baseline.at(50));
    let (lines, bytes) = lines(&stage).await?;
    let busy = memory::of_machine(&machine)?;
    let piped = piped_lines()?;

    stage.cleanup().await?;
    let left = pool.shutdown(Duration::from_secs(60)).await;
    ensure!(left.is_empty(), "machines are left: {left:?}");

    Ok(vec![
        Row {
            what: "a step `true` on a real agent, through its gRPC".to_owned(),
            budget: "p50 within 1.5 ms of the baseline",
            ours: format!("{}; p50 {} over the baseline", ours.cell(), Short(overhead)),
            baseline: format!("fork + exec + wait of `sh -c true` {}", baseline.cell()),
        },
        Row {
            what: format!("a step that prints 1 000 000 lines ({bytes} bytes), {SECRETS} secrets"),
            budget: "≤ 0.4 s, ≤ 32 MB",
            ours: format!(
                "{}; agent and holder at most {:.1} MB",
                Short(lines),
                busy.peak_megabytes()
            ),
            baseline: format!("`{LINES}` read from its pipe {}", Short(piped)),
        },
        Row {
            what: "memory of an idle agent".to_owned(),
            budget: "≤ 6 MB",
            ours: format!(
                "{:.1} MB, {:.1} MB of it its own, the rest its program's file ({:.1} MB with its \
                 supervisor)",
                idle.agent_megabytes(),
                idle.agents_own_megabytes(),
                idle.megabytes()
            ),
            baseline: "–".to_owned(),
        },
    ])
}

/// The step and its baseline in turn, so that both see the same machine.
async fn trues(stage: &Stage<Prepared>) -> Result<(Spread, Spread)> {
    let (mut ours, mut baseline) = (Spread::with_capacity(STEPS), Spread::with_capacity(STEPS));
    for n in 0..STEPS {
        let step = Step::shell(format!("true-{n}"), "true");
        let begun = Instant::now();
        let outcome = stage.execute(&step, &mut Counted::default()).await?;
        ours.add(begun.elapsed());
        ensure!(outcome.status.is_success(), "true: {:?}", outcome.status);

        let begun = Instant::now();
        let status = Command::new("sh").args(["-c", "true"]).status()?;
        baseline.add(begun.elapsed());
        ensure!(status.success(), "sh -c true: {status}");
    }
    Ok((ours, baseline))
}

async fn lines(stage: &Stage<Prepared>) -> Result<(Duration, u64)> {
    let mut best: Option<Duration> = None;
    let mut bytes = 0;
    for n in 0..5 {
        let mut log = Counted::default();
        let begun = Instant::now();
        let outcome = stage
            .execute(&Step::shell(format!("lines-{n}"), LINES), &mut log)
            .await?;
        let took = begun.elapsed();
        ensure!(outcome.status.is_success(), "lines: {:?}", outcome.status);
        ensure!(outcome.log_end == log.bytes, "the log has a gap");
        bytes = log.bytes;
        best = Some(best.map_or(took, |best| best.min(took)));
    }
    Ok((best.context("nothing was measured")?, bytes))
}

fn piped_lines() -> Result<Duration> {
    let begun = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", LINES])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdout.take().context("the pipe was asked for")?;
    std::io::copy(&mut pipe, &mut std::io::sink())?;
    child.wait()?;
    Ok(begun.elapsed())
}

/// Counts a log's bytes and drops them.
#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
}

#[async_trait]
impl LogSink for Counted {
    fn position(&self, _: &StepId) -> u64 {
        self.bytes
    }

    async fn write(&mut self, _: &StepId, offset: u64, bytes: &[u8]) -> Result<u64, LogSinkError> {
        self.bytes = offset + bytes.len() as u64;
        Ok(self.bytes)
    }
}
