//! A shift: the time in which this process has the state directory, and a
//! runner that owns pools.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use vmpool_agent::{Agents, LinkConfig, LiteEngineExecutor, MachineExecutor};
use vmpool_core::Clock;
use vmpool_core::agent::Clocks;
use vmpool_core::journal::Holder;
use vmpool_core::runner::{Runner, RunnerParts};

use super::desk::Seat;
use super::doors::Behind;
use super::grpc::{self, Service, Tools};
use super::http;
use super::journal;
use super::peer::{Doorman, PeerService};
use super::pools::{self, Sources};
use super::routes;
use super::site::Site;
use super::state_dir::{Lock, StateError};

/// How long the lock of a process that is just gone may take to be free: a
/// child that it was starting has it between fork and exec.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Between two tries.
const LOCK_AGAIN: Duration = Duration::from_millis(20);

/// Connections at a time at a door that everybody may come by.
const MOST_OF_ALL: usize = 1_000;

/// The lock, the runner, and what answers for it.
#[derive(Debug)]
pub(super) struct Shift {
    pub(super) runner: Runner,
    /// The pools of the file that is in force.
    pub(super) sources: Sources,
    agents: Agents,
    tools: Tools,
    /// Ends the loops that accept connections.
    doors: CancellationToken,
    _lock: Lock,
}

/// Takes the state directory's lock.
///
/// # Errors
/// Another process has it, and keeps it.
pub(super) async fn lock(site: &Site) -> Result<Lock, StateError> {
    let taken = async {
        loop {
            match site.state.lock() {
                Err(StateError::Locked { .. }) => tokio::time::sleep(LOCK_AGAIN).await,
                taken => return taken,
            }
        }
    };
    match tokio::time::timeout(LOCK_PATIENCE, taken).await {
        Ok(taken) => taken,
        Err(_) => site.state.lock(),
    }
}

impl Shift {
    /// Opens the journal, starts the runner, and answers requests.
    ///
    /// # Errors
    /// The journal can't be opened, or the runner does not start; the lock is
    /// free then.
    pub(super) async fn begin(site: &Site, lock: Lock) -> anyhow::Result<Self> {
        let runner_id = site.state.runner_id(&lock)?;
        let (journal, sharing) = journal::open(site).await?;
        let agents = Agents::new(
            Arc::clone(&site.authority),
            Clocks::default(),
            LinkConfig::default(),
        );
        let theirs = LiteEngineExecutor::new(agents.clone());
        let theirs = theirs.with_workspace(pools::workspaces(site.desk.clone()));
        let parts = RunnerParts {
            journal,
            link: Arc::new(agents.clone()),
            executor: Arc::new(MachineExecutor::with(agents.clone(), theirs)),
            logs: Arc::new(site.logs.clone()),
            clock: Clock::system(),
            holder: Holder {
                runner: runner_id.clone(),
                url: site.args.peer_url.clone().unwrap_or_default().into(),
            },
            sharing,
        };
        let (deployment, offered) = (site.authority.deployment(), site.agents.as_ref());
        let (mut sources, pools) = (
            Sources::new(site.state.path(), site.args.acquire_objective),
            site.desk.pools(),
        );
        let made = sources.make(&pools, &[], &site.owner, deployment, offered);
        let made = made.await?;
        let runner = Runner::start(parts, made.sources()).await;
        let runner = runner.context("start the runner")?;
        sources.keep(made);
        site.desk.seat(Seat::Runner(runner.clone()));
        let doors = CancellationToken::new();
        let service = Service {
            runner: runner.clone(),
            id: runner_id,
            owner: site.owner.clone(),
            deployment: site.authority.deployment().clone(),
            desk: site.desk.clone(),
            logs: site.logs.clone(),
            leaving: doors.clone(),
        };
        let logs = site.logs.clone();
        let tools = Tools::new(service, site.desk.clone(), logs, agents.clone());
        let shift = Self {
            runner,
            sources,
            agents,
            tools,
            doors,
            _lock: lock,
        };
        shift.open(site)?;
        Ok(shift)
    }

    fn open(&self, site: &Site) -> anyhow::Result<()> {
        let (doors, connections) = (&site.doors, &site.connections);
        self.tools.open(doors.grpc.open()?, &site.access);
        let url = grpc::url(doors.grpc.address(), &site.access);
        if let Err(error) = site.state.serves_tools_at(&url) {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(error, "tools find this runner by --runner only");
        }
        let elsewhere = doors.metrics.is_some();
        let metrics = (!elsewhere).then(|| site.metrics.clone());
        let routes = http::routes(site.desk.clone(), metrics)
            .merge(routes::routes(self.tools.service().clone()));
        let builds = Behind {
            routes,
            access: Some(site.access.clone()),
            most: site.most_connections,
        };
        connections.serve_http(doors.http.open()?, builds, self.doors.clone());
        if let Some(door) = &doors.metrics {
            let routes = http::watching(site.desk.clone(), site.metrics.clone());
            connections.serve_http(door.open()?, for_all(routes), self.doors.clone());
        }
        if let (Some(door), Some(agents)) = (&doors.agents, &site.agents) {
            connections.serve_http(door.open()?, for_all(agents.routes()), self.doors.clone());
        }
        if let Some(door) = &doors.peers {
            let doorman = Doorman::new(&site.authority)?;
            let routes = PeerService::for_runners(site.desk.clone());
            connections.serve_peers(door.open()?, doorman, routes, self.doors.clone());
        }
        Ok(())
    }

    /// Stops accepting, lets the next runner go on, and gives the lock up.
    /// Machines, stages and steps stay as they are.
    ///
    /// # Cancel safety
    /// A dropped call leaves the runner stopping; the lock is free.
    pub(super) async fn end(self) {
        self.doors.cancel();
        tokio::join!(self.runner.hand_over(), self.tools.ended());
        self.agents.shutdown().await;
    }
}

/// For who may know it, whoever they are.
fn for_all(routes: axum::Router) -> Behind {
    Behind {
        routes,
        access: None,
        most: MOST_OF_ALL,
    }
}
