//! What stays the same for the whole life of a serving process.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use vmpool_agent::Authority;
use vmpool_core::{Owner, PoolName};

use super::access::{Access, judge};
use super::agents::Offered;
use super::args::ServeArgs;
use super::desk::{Desk, Ways};
use super::doors::{self, Connections, Doors};
use super::journal;
use super::log_service::LogService;
use super::logs::FileLogs;
use super::metrics::Metrics;
use super::peer::Peers;
use super::pools;
use super::state_dir::StateDir;
use super::traces;
use crate::exit::{Exit, OrExit as _, Stopped};

/// The place where shifts follow each other.
pub(super) struct Site {
    pub(super) args: ServeArgs,
    /// This program's path: what an upgrade starts.
    pub(super) program: PathBuf,
    pub(super) state: StateDir,
    /// The journal as it may be shown.
    pub(super) journal: String,
    pub(super) owner: Owner,
    /// The programs that new machines can download here.
    pub(super) agents: Option<Offered>,
    pub(super) authority: Arc<Authority>,
    pub(super) logs: FileLogs,
    pub(super) doors: Doors,
    pub(super) access: Access,
    /// For builds, at a time.
    pub(super) most_connections: usize,
    pub(super) connections: Connections,
    pub(super) desk: Desk,
    pub(super) metrics: Metrics,
}

impl Site {
    /// Reads what the options name. Nothing is changed but the state
    /// directory, which is made if it does not exist. Blocks shortly.
    ///
    /// # Errors
    /// An option, or a file that one names, can't be used.
    pub(super) fn new(
        args: ServeArgs,
        open: impl FnOnce(&ServeArgs) -> anyhow::Result<Doors>,
        metrics: Metrics,
    ) -> Result<Self, Stopped> {
        let listens = [
            ("--listen", args.listen),
            ("--grpc-listen", args.grpc_listen),
        ];
        let risks = judge(&listens, args.access.wanted()).or_exit(Exit::BadInput)?;
        for risk in risks {
            tracing::warn!("{risk}");
        }
        let access = Access::load(&args.access).or_exit(Exit::BadInput)?;
        let pools = pools::read(&args.pool)?;
        let owner = pools::owner(args.deployment.as_deref(), &pools)?;
        let state = StateDir::open(&args.state).or_exit(Exit::BadInput)?;
        let journal = journal::shown(&args, &state).or_exit(Exit::BadInput)?;
        let trust = args.trust.as_deref().unwrap_or_else(|| state.path());
        let authority = Authority::open_or_create(trust).or_exit(Exit::BadInput)?;
        let authority = Arc::new(authority);
        traces::of_deployment(authority.deployment());
        let agents = Offered::named(args.agents.as_deref(), args.agents_url.as_deref());
        let agents = agents.or_exit(Exit::BadInput)?;
        pools::check_start_up(&pools, agents.as_ref()).or_exit(Exit::BadInput)?;
        let logs = args.logs.clone();
        let logs = logs.unwrap_or_else(|| state.path().join("logs"));
        let logs = std::path::absolute(logs).or_exit(Exit::BadInput)?;
        let logs = FileLogs::new(logs);
        let fallbacks = args.fallback_pools.iter().map(|name| PoolName::parse(name));
        let fallbacks = fallbacks.collect::<Result<_, _>>();
        let ways = Ways {
            fallbacks: fallbacks
                .context("--fallback-pools")
                .or_exit(Exit::BadInput)?,
            compat_keys: args.compat_keys.then(|| Arc::clone(&authority)),
            log_service: LogService::new(logs.clone()),
        };
        let program = std::env::current_exe().context("find this program");
        let peers = Peers::new(&authority).or_exit(Exit::Failed)?;
        Ok(Self {
            doors: open(&args).or_exit(Exit::BadInput)?,
            program: program.or_exit(Exit::Failed)?,
            most_connections: doors::most_connections(args.access.max_connections),
            desk: Desk::new(peers, Arc::new(pools), access.clone(), ways),
            access,
            connections: Connections::new(),
            logs,
            args,
            state,
            journal,
            owner,
            agents,
            authority,
            metrics,
        })
    }
}
