//! A build on machines whose agent is a program of its own: what is shipped,
//! where `VMPOOL_TEST_AGENT` names it, as `cargo xtask test` does; the runner
//! itself, which is an agent too, elsewhere.

#[expect(dead_code, reason = "of it this test needs only the look at processes")]
#[path = "../site/support.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vmpool_agent::{AgentExecutor, Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::PoolParts;
use vmpool_core::stage::Prepared;
use vmpool_core::testkit::Collected;
use vmpool_core::{
    AcquireRequest, Clock, PoolConfig, Secret, Stage, StageSetup, Step, StepStatus, WarmPool,
};
use vmpool_local::{AgentCommand, LocalProvider};

use support::processes;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

const SECRET: &str = "a-secret-of-this-test";

fn agent() -> PathBuf {
    let named = std::env::var_os("VMPOOL_TEST_AGENT");
    named.map_or_else(|| env!("CARGO_BIN_EXE_vmpool").into(), PathBuf::from)
}

/// How the step ended, and its whole log.
async fn ran(stage: &Stage<Prepared>, id: &str, script: &str) -> (StepStatus, Collected) {
    let mut log = Collected::default();
    let outcome = stage.execute(&Step::shell(id, script), &mut log).await;
    let outcome = outcome.expect("the step runs");
    assert_eq!(outcome.log_end, log.bytes().len() as u64);
    (outcome.status, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_p12_the_agent_that_is_shipped_runs_a_build_and_leaves_nothing() {
    let directory = TempDir::with_prefix("vmpool-shipped-").expect("a temporary directory");
    let root = directory.path().join("machines");
    let provider = LocalProvider::with_root(AgentCommand::Path(agent()), &root);
    // However the test ends, its machines end with it.
    let clocks = Clocks {
        attached: true,
        ..Clocks::default()
    };
    let authority = Arc::new(Authority::ephemeral().expect("a root of trust"));
    let link = Agents::new(authority, clocks, LinkConfig::default());
    let executor = Arc::new(AgentExecutor::new(link.clone()));
    let parts = PoolParts::new(
        Arc::new(provider.expect("this host can have machines")),
        Arc::new(link),
        Arc::new(MemoryJournal::new()),
        Clock::system(),
    );
    let pool = WarmPool::start(PoolConfig::new("shipped", 1, 2), parts).await;
    let pool = pool.expect("a pool");
    let lease = pool.acquire(AcquireRequest::new("build")).await;
    let lease = lease.expect("a machine");
    let machine = lease.machine_id().clone();
    let setup = StageSetup {
        env: [("WHO".to_owned(), "world".to_owned())].into(),
        secrets: vec![Secret::new(SECRET)],
        ..StageSetup::default()
    };
    let stage = Stage::new(lease, Arc::new(pool.clone()), executor);
    let stage = stage.init(&setup).await.expect("a stage");

    let script = format!("echo \"Hello, $WHO!\"; echo {SECRET}; pwd > where; exit 7");
    let (status, log) = ran(&stage, "greet", &script).await;
    assert_eq!(status, StepStatus::Exited { code: 7 });
    assert!(log.text().starts_with("Hello, world!\n"), "{}", log.text());
    assert!(!log.text().contains(SECRET), "{}", log.text());

    let (status, log) = ran(&stage, "many", "cat where >&2; seq 200000").await;
    assert!(status.is_success(), "{status:?}");
    let lines: Vec<String> = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(
        log.text().ends_with(&lines.concat()),
        "the log is not whole"
    );

    // What a step leaves in the background is no step's any more.
    let (status, _) = ran(&stage, "left", "setsid sleep 1000 > left 2>&1 &").await;
    assert!(status.is_success(), "{status:?}");
    stage.cleanup().await.expect("cleaned up");
    let left = pool.shutdown(PATIENCE).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(processes(&[machine.as_str()]), []);
    // What became of it can still be told, but its disk is gone.
    let disk = LocalProvider::disk(Some(&root), &machine);
    assert!(!disk.exists(), "{} is left", disk.display());
}
