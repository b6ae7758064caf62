//! A warm pool of local machines in your own program: one stage, one step.

use std::sync::Arc;
use std::time::Duration;

use vmpool_agent::{AgentExecutor, Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::PoolParts;
use vmpool_core::testkit::Collected;
use vmpool_core::{AcquireRequest, Clock, PoolConfig, Stage, StageSetup, Step, WarmPool};
use vmpool_local::{AgentCommand, LocalProvider};

fn main() -> anyhow::Result<()> {
    // The machines are this program again: this comes before anything else.
    vmpool_local::run_agent_if_asked();
    tokio::runtime::Runtime::new()?.block_on(build())
}

async fn build() -> anyhow::Result<()> {
    // Attached machines end with this process, however it ends.
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
    let provider = Arc::new(LocalProvider::new(AgentCommand::ThisProgram)?);
    let journal = Arc::new(MemoryJournal::new());
    let parts = PoolParts::new(provider, Arc::new(link), journal, Clock::system());
    let pool = WarmPool::start(PoolConfig::new("local", 1, 2), parts).await?;

    let lease = pool.acquire(AcquireRequest::new("build-1")).await?;
    let stage = Stage::new(lease, Arc::new(pool.clone()), executor);
    let stage = stage.init(&StageSetup::default()).await?;
    let mut log = Collected::default();
    let outcome = stage
        .execute(&Step::shell("greet", "echo hello from $PWD"), &mut log)
        .await?;
    print!("{}", log.text());
    println!("{:?}", outcome.status);
    stage.cleanup().await?;

    let left = pool.shutdown(Duration::from_secs(60)).await;
    anyhow::ensure!(left.is_empty(), "machines are left: {left:?}");
    Ok(())
}
