//! From a pool file to the parts of a runner: each pool's settings and where
//! its machines come from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::geteuid;
use vmpool_agent::ThrowAway;
use vmpool_core::account::Account;
use vmpool_core::agent::Clocks;
use vmpool_core::pool::Deadlines;
use vmpool_core::runner::PoolSource;
use vmpool_core::{DeploymentId, Machine, Owner, PoolConfig, SecretBytes};
use vmpool_local::{AgentCommand, LocalProvider, Program};
use vmpool_pipeline::{LocalSpec, PoolDeadlines, PoolFile, PoolSpec, parse_pool_file};

use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::complain;
use crate::pipeline_file;

/// From a local machine's launch until its agent answers: a process of a busy
/// host needs a second.
const BOOTING: Duration = Duration::from_mins(1);

/// Reads a pool file and tells what was noticed in it.
///
/// # Errors
/// It can't be read, or is [`Rejected`](vmpool_pipeline::Rejected).
pub(crate) fn read(path: &Path) -> Result<PoolFile, Stopped> {
    let text = pipeline_file::text(path).or_exit(Exit::BadInput)?;
    let file = parse_pool_file(&path.to_string_lossy(), &text).or_exit(Exit::BadInput)?;
    for warning in &file.warnings {
        complain(format_args!("warning: {warning}"));
    }
    Ok(file)
}

/// The deployment's name: the given one, or this user's on this host.
pub(crate) fn owner(name: Option<&str>) -> Result<Owner, Stopped> {
    match name {
        Some(name) => Owner::parse(name)
            .context("--deployment")
            .or_exit(Exit::BadInput),
        None => Ok(Owner::new(format!("local-{}", geteuid()))),
    }
}

/// The pools of `file` for the deployment of this name and id. Must be called
/// within a tokio runtime.
///
/// # Errors
/// This host can't have such machines.
pub(crate) fn sources(
    file: &PoolFile,
    owner: &Owner,
    deployment: &DeploymentId,
) -> anyhow::Result<Vec<PoolSource>> {
    // This host is one account, whatever directories its machines are in.
    let account = Account::default();
    let source = |pool: &PoolSpec| {
        let provider = provider(&pool.local)
            .with_context(|| format!("prepare this host for the machines of pool {}", pool.name))?;
        Ok(PoolSource {
            config: config(pool, owner, deployment),
            provider: Arc::new(provider),
            account: account.clone(),
        })
    };
    file.pools.iter().map(source).collect()
}

/// Where machines of this host come from. They outlive the runner: they are
/// never attached to it.
///
/// # Errors
/// This host can't have such machines.
pub(crate) fn provider(spec: &LocalSpec) -> anyhow::Result<LocalProvider> {
    let provider = match &spec.root {
        Some(root) => LocalProvider::with_root(AgentCommand::ThisProgram, root)?,
        None => LocalProvider::new(AgentCommand::ThisProgram)?,
    };
    let usual = Clocks::default();
    let provider = provider.with_clocks(Clocks {
        boot: spec.boot_clock.unwrap_or(usual.boot),
        idle: spec.idle_clock.unwrap_or(usual.idle),
        stage_grace: spec.stage_grace.unwrap_or(usual.stage_grace),
        attached: false,
    });
    if spec.agent.is_empty() {
        return Ok(provider);
    }
    let command = spec.agent.clone();
    Ok(
        provider.with_program(&spec.agent.join(" "), move |bootstrap| {
            let born_with = ThrowAway::of(bootstrap)?;
            Ok(Program {
                command: command.clone(),
                ca_pem: born_with.ca_pem,
                cert_pem: born_with.agent_cert_pem,
                key_pem: SecretBytes::new(born_with.agent_key_pem.expose().as_bytes()),
            })
        }),
    )
}

/// Where steps begin on machines whose agents speak the incumbent's protocol:
/// on the disk of their machine, with which it goes.
pub(crate) fn workspaces(file: &PoolFile) -> impl Fn(&Machine) -> PathBuf + use<> {
    let root = |pool: &PoolSpec| (pool.name.clone(), pool.local.root.clone());
    let roots: HashMap<_, _> = file.pools.iter().map(root).collect();
    move |machine| {
        let root = roots.get(machine.pool.as_str());
        let root = root.and_then(Option::as_deref);
        LocalProvider::disk(root, &machine.id).join("workspace")
    }
}

fn config(pool: &PoolSpec, owner: &Owner, deployment: &DeploymentId) -> PoolConfig {
    let usual = PoolConfig::new(pool.name.as_str(), pool.warm, pool.limit);
    PoolConfig {
        owner: owner.clone(),
        deployment: deployment.clone(),
        deadlines: deadlines(&pool.local.deadlines),
        max_age: pool.local.max_age.unwrap_or(usual.max_age),
        ..usual
    }
}

fn deadlines(given: &PoolDeadlines) -> Deadlines {
    let usual = Deadlines::default();
    Deadlines {
        launching: given.launching.unwrap_or(usual.launching),
        booting: given.booting.unwrap_or(BOOTING),
        prepare: given.prepare.unwrap_or(usual.prepare),
        draining: given.draining.unwrap_or(usual.draining),
        terminating: given.terminating.unwrap_or(usual.terminating),
        acquire: given.acquire.unwrap_or(usual.acquire),
        stage: given.stage.unwrap_or(usual.stage),
    }
}
