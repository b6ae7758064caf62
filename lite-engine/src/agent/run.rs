//! The agent from its start to its machine's end.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;
use vmpool_core::agent::EndReason;

use super::entry::{Agent, TakeUpError};
use super::input::inherited;
use super::refuse::chain;
use crate::compat::{self, Beside, DeskConfig, Machine};
use crate::config::AgentConfig;
use crate::enrol::Enrolment;
use crate::host::{self, HostConfig};
use crate::identity::{Identity, IdentityError};
use crate::listener::{self, Limits, ListenerError, agent_service};
use crate::start_up::StartUp;

/// Why an agent stopped serving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEnd {
    /// It was told to. Its steps run on under their holders.
    Stopped,
    /// The rules end the machine: it has no steps any more, and must not live on.
    Machine(EndReason),
}

/// Why an agent could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its key or certificate can't be used.
    #[error("take up the agent's identity")]
    Identity(#[from] IdentityError),
    /// What an earlier agent left, or the directory itself, can't be used.
    #[error("take up the agent")]
    TakeUp(#[from] TakeUpError),
    /// It can't listen.
    #[error("listen for runners")]
    Listener(#[from] ListenerError),
    /// The system refused something.
    #[error("{attempted}")]
    System {
        /// What was attempted.
        attempted: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Is the agent until its machine ends, or until SIGTERM: the whole process
/// serves this. The exit code says whether it went well.
pub fn run(config: AgentConfig) -> ExitCode {
    match run_to_end(config) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The same for a program that has something to do when its machine must end.
/// What the agent has to tell, its failure too, goes to standard error, a line each.
pub fn run_to_end(config: AgentConfig) -> Result<AgentEnd, AgentError> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(LevelFilter::INFO)
        .with_ansi(false)
        // Nobody has to listen: what can't be told is lost, not the agent.
        .log_internal_errors(false)
        .try_init()
        // Somebody takes what is told already.
        .ok();
    let end = block_on(config);
    match &end {
        Ok(end) => tracing::info!(?end, "the agent ends"),
        Err(error) => tracing::error!(error = chain(error), "the agent fails"),
    }
    end
}

fn block_on(config: AgentConfig) -> Result<AgentEnd, AgentError> {
    let system = |attempted| move |source| AgentError::System { attempted, source };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(system("start a runtime"))?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate()).map_err(system("watch for SIGTERM"))?;
        let mut serving = Box::pin(serve(config, stop.clone()));
        tokio::select! {
            end = &mut serving => return end,
            _ = terminate.recv() => stop.cancel(),
        }
        serving.await
    })
}

/// Serves runners until `stop` is cancelled or the machine must end.
///
/// # Cancel safety
/// Dropping the future drops all connections; steps run on under their holders.
pub async fn serve(config: AgentConfig, stop: CancellationToken) -> Result<AgentEnd, AgentError> {
    let AgentConfig {
        machine,
        bootstrap,
        state_dir,
        listener,
        metadata,
        start_up,
    } = config;
    let system = |attempted| move |source| AgentError::System { attempted, source };
    let identity = Identity::load_or_create(&state_dir.join("identity"), &bootstrap.ca_pem)?;
    let host = HostConfig::new(state_dir.join(host::DIR));
    let agent = Agent::take_up(
        &state_dir.join("agent"),
        host,
        bootstrap.clocks,
        identity.clone(),
    )?;
    if let Some(endpoint) = metadata {
        agent.read_notices(endpoint);
    }
    let runner_name = bootstrap.runner_name.clone();
    let enrolment = Enrolment::new(identity, bootstrap, Some(machine), agent.on_enrolled());
    listener
        .set_nonblocking(true)
        .map_err(system("make the listener non-blocking"))?;
    let listener = TcpListener::from_std(listener).map_err(system("listen"))?;
    let machine = Machine::new(agent.claim().clone(), desk(&state_dir));
    let closing = stop.child_token();
    let start_up = StartUp::told_in(start_up);
    let service = Beside {
        ours: agent_service(agent.service().until(closing.clone()).after(start_up)),
        machine: machine.clone(),
    };
    let limits = Limits::default();
    let serving = listener::serve(
        listener,
        Arc::new(enrolment),
        &runner_name,
        service,
        limits,
        closing.clone(),
    );
    let mut serving = Box::pin(serving);
    let end = tokio::select! {
        served = &mut serving => {
            served?;
            AgentEnd::Stopped
        }
        why = agent.over() => {
            tokio::join!(agent.kill_all(), machine.kill_all());
            closing.cancel();
            serving.await?;
            AgentEnd::Machine(why)
        }
    };
    tokio::join!(agent.close(), machine.close());
    Ok(end)
}

/// Where the incumbent's protocol finds its things on a machine of ours.
fn desk(state_dir: &Path) -> DeskConfig {
    let dir = state_dir.join(compat::DIR);
    DeskConfig {
        shared: dir.join("shared"),
        environment: inherited(),
        workdir: "/".into(),
        mint_url: format!("unix://{}", dir.join("wi/wi.sock").display()),
        docker: "unix:///var/run/docker.sock".into(),
        connectivity: "8.8.8.8:53".into(),
        one_stage: true,
        holder_program: "/proc/self/exe".into(),
        dir,
    }
}
