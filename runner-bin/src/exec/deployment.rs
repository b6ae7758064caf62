//! The deployment of one run: a CA and a deployment id of its own, the memory
//! journal, machines that are processes of this host and end with it.
//!
//! Two runs share nothing: neither sees the other's machines. All machines are
//! attached: however this process ends, they end with it.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use vmpool_agent::{AgentExecutor, Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::{Deadlines, Heard, PoolEvent, PoolParts};
use vmpool_core::{Clock, DeploymentId, Owner, Pool, PoolConfig, Provider, StepExecutor, WarmPool};
use vmpool_local::{AgentCommand, LocalProvider};

use super::events::{Event, Events};
use super::state::StateDir;

/// From a machine's launch until its agent answers: a process needs milliseconds.
const BOOTING: Duration = Duration::from_secs(20);

/// A pipeline waits for a machine only when one may be had, so for no longer
/// than that takes.
const ACQUIRE: Duration = Duration::from_secs(45);

/// How long machines may take to end. After that this process ends, and they with it.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// An agent of this host does not restart: when nobody listens, it is gone.
const GONE_AFTER: Duration = Duration::from_millis(500);

/// A pool of local machines, and what runs steps on them.
#[derive(Debug)]
pub(crate) struct Deployment {
    pool: WarmPool,
    executor: Arc<AgentExecutor>,
    provider: Arc<LocalProvider>,
    state: StateDir,
}

impl Deployment {
    /// Starts a pool of at most `limit` machines and has `warm` of them made ready.
    ///
    /// # Errors
    /// The state directory, the CA or the pool can't be made.
    pub(crate) async fn start(warm: u32, limit: u32) -> anyhow::Result<Self> {
        let state = StateDir::create().context("make a temporary state directory")?;
        let authority = Authority::open_or_create(&state.path().join("trust"))
            .context("make the run's certificate authority")?;
        let deployment = authority.deployment().clone();
        let clocks = Clocks {
            attached: true,
            ..Clocks::default()
        };
        let link = LinkConfig {
            gone_after_refused: GONE_AFTER,
            ..LinkConfig::default()
        };
        let agents = Agents::new(Arc::new(authority), clocks, link);
        let machines = state.path().join("machines");
        let provider = LocalProvider::with_root(AgentCommand::ThisProgram, &machines)
            .context("prepare this host for machines")?;
        let provider = Arc::new(provider);
        let parts = PoolParts::new(
            provider.clone(),
            Arc::new(agents.clone()),
            Arc::new(MemoryJournal::new()),
            Clock::system(),
        );
        let pool = WarmPool::start(config(&state, deployment, warm, limit)?, parts).await?;
        Ok(Self {
            pool,
            executor: Arc::new(AgentExecutor::new(agents)),
            provider,
            state,
        })
    }

    /// The pool.
    pub(crate) fn pool(&self) -> &WarmPool {
        &self.pool
    }

    /// The pool, as stages hold it.
    pub(crate) fn shared_pool(&self) -> Arc<dyn Pool> {
        Arc::new(self.pool.clone())
    }

    /// What runs steps.
    pub(crate) fn executor(&self) -> Arc<dyn StepExecutor> {
        self.executor.clone()
    }

    /// Where the machines come from.
    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    /// Waits until `wanted` machines are ready, shows how many are, and says
    /// whether all are. Returns early when something goes wrong: who acquires
    /// is told what.
    pub(crate) async fn warm(&self, wanted: u32, events: &Events) -> bool {
        let mut happenings = self.pool.events();
        let mut shown = None;
        loop {
            let status = self.pool.status();
            if shown != Some(status.ready) {
                shown = Some(status.ready);
                let ready = status.ready;
                events.show(Event::Warming { ready, wanted }).await;
            }
            if status.ready >= wanted || status.stopped.is_some() {
                return status.ready >= wanted;
            }
            match happenings.next().await {
                Some(Heard::Event(PoolEvent::Trouble(_))) | None => return false,
                Some(_) => {}
            }
        }
    }

    /// Ends all machines and removes the state. Says what could not be ended:
    /// that ends with this process.
    pub(crate) async fn stop(self) -> Option<String> {
        let left = self.pool.shutdown(SHUTDOWN).await;
        if !left.is_empty() {
            let machines: Vec<_> = left.machines.iter().map(|(id, _)| id.to_string()).collect();
            return Some(format!("not ended yet: machines {}", machines.join(", ")));
        }
        let path = self.state.path().to_owned();
        let removed = self.state.remove();
        removed
            .err()
            .map(|error| format!("{} could not be removed: {error}", path.display()))
    }
}

fn config(
    state: &StateDir,
    deployment: DeploymentId,
    warm: u32,
    limit: u32,
) -> anyhow::Result<PoolConfig> {
    let user = std::fs::metadata(state.path())
        .context("look at the state directory")?
        .uid();
    Ok(PoolConfig {
        owner: Owner::new(format!("local-{user}")),
        deployment,
        deadlines: Deadlines {
            booting: BOOTING,
            acquire: ACQUIRE,
            ..Deadlines::default()
        },
        ..PoolConfig::new("exec", warm, limit)
    })
}
