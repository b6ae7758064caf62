//! From a pool file to the parts of a runner: each pool's settings and where
//! its machines come from.

mod amazon;
mod checkup;
mod extras;
mod found;
mod local;
mod start_up;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::geteuid;
use vmpool_core::account::Account;
use vmpool_core::agent::Clocks;
use vmpool_core::pool::Deadlines;
use vmpool_core::runner::PoolSource;
use vmpool_core::{DeploymentId, Owner, PoolConfig, Provider};
use vmpool_pipeline::{AmazonSpec, PoolFile, PoolSpec, Source, Timing, parse_pool_file};

use self::amazon::Amazon;
pub(crate) use self::checkup::check_up;
pub(super) use self::local::workspaces;
pub(crate) use self::start_up::{
    agent, check as check_start_up, is_incumbents, program, user_data,
};
use super::agents::Offered;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::complain;
use crate::pipeline_file;

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
///
/// # Errors
/// It is no name; or there is none, and machines elsewhere would carry one
/// that another host's user has too.
pub(crate) fn owner(name: Option<&str>, file: &PoolFile) -> Result<Owner, Stopped> {
    if let Some(name) = name {
        return Owner::parse(name)
            .context("--deployment")
            .or_exit(Exit::BadInput);
    }
    let elsewhere = |pool: &&PoolSpec| !matches!(pool.source, Source::Local(_));
    if let Some(pool) = file.pools.iter().find(elsewhere) {
        let name = &pool.name;
        let error = anyhow::anyhow!("the machines of pool {name} need a deployment's name");
        return Err(error.context("--deployment")).or_exit(Exit::BadInput);
    }
    Ok(Owner::new(format!("local-{}", geteuid())))
}

/// The pools of the file that is in force, and the accounts of all files that were.
#[derive(Debug)]
pub(crate) struct Sources {
    /// This host is one account, whatever directories its machines are in.
    here: Account,
    amazon: Amazon,
    /// How long a build may wait for its machine, by the objective.
    objective: Duration,
    kept: Made,
}

/// The pools of a file, each with where its machines come from.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<(PoolSpec, PoolSource)>);

impl Made {
    pub(crate) fn sources(&self) -> Vec<PoolSource> {
        self.0.iter().map(|(_, source)| source.clone()).collect()
    }
}

impl Sources {
    /// None yet; what their providers answer is kept in the directory `state`.
    pub(crate) fn new(state: &Path, objective: Duration) -> Self {
        Self {
            objective,
            here: Account::default(),
            amazon: Amazon::new(state),
            kept: Made::default(),
        }
    }

    /// The pools of `file` for the deployment of this name and id. One that
    /// asks for the same machines as before, and gets them, has the same
    /// provider, unless it is one of those to be made `anew`. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// There can't be such machines: this host, or the account, does not have
    /// what the file asks for.
    pub(crate) async fn make(
        &mut self,
        file: &PoolFile,
        anew: &[String],
        owner: &Owner,
        deployment: &DeploymentId,
        agents: Option<&Offered>,
    ) -> anyhow::Result<Made> {
        let mut made = Vec::with_capacity(file.pools.len());
        for pool in &file.pools {
            let known = self
                .kept
                .0
                .iter()
                .find(|(known, _)| known.name == pool.name);
            let known = known.cloned();
            if let Some((known, _)) = &known
                && !is_where(known, pool)
            {
                // Nobody would look there for the machines that it has.
                anyhow::bail!(
                    "pool {}: its machines can't be elsewhere (spec.root, spec.account.region, \
                     the account of spec.account.role_arn) while it is in use: give the pool \
                     there another name",
                    pool.name
                );
            }
            let mut source = self.source(pool, owner, deployment, agents).await?;
            if let Some((known, before)) = known
                && !anew.contains(&pool.name)
                && is_like(&known, pool)
                && before.provider.capabilities().spec == source.provider.capabilities().spec
            {
                source.provider = before.provider;
            }
            made.push((pool.clone(), source));
        }
        Ok(Made(made))
    }

    /// These are in force.
    pub(crate) fn keep(&mut self, made: Made) {
        self.kept = made;
    }

    async fn source(
        &mut self,
        pool: &PoolSpec,
        owner: &Owner,
        deployment: &DeploymentId,
        agents: Option<&Offered>,
    ) -> anyhow::Result<PoolSource> {
        let attempted = || format!("prepare for the machines of pool {}", pool.name);
        let (provider, account): (Arc<dyn Provider>, _) = match &pool.source {
            Source::Local(spec) => {
                let provider =
                    local::provider(spec, clocks(&pool.timing)).with_context(attempted)?;
                (Arc::new(provider), self.here.clone())
            }
            Source::Amazon(spec) => {
                let machines = self.amazon.machines(pool, spec, owner, agents).await;
                let (provider, account) = machines.with_context(attempted)?;
                (Arc::new(provider), account)
            }
        };
        Ok(PoolSource {
            config: PoolConfig {
                objective: self.objective,
                ..config(pool, owner, deployment)
            },
            provider,
            account,
        })
    }
}

/// The machines of one are where the other's are.
fn is_where(one: &PoolSpec, other: &PoolSpec) -> bool {
    match (&one.source, &other.source) {
        (Source::Local(one), Source::Local(other)) => one.root == other.root,
        (Source::Amazon(one), Source::Amazon(other)) => {
            // arn:aws:iam::ACCOUNT:role/NAME
            let account = |spec: &AmazonSpec| {
                let arn = spec.account.role_arn.as_deref();
                arn.and_then(|arn| arn.split(':').nth(4)).map(str::to_owned)
            };
            one.account.region == other.account.region && account(one) == account(other)
        }
        (Source::Local(_), Source::Amazon(_)) | (Source::Amazon(_), Source::Local(_)) => false,
    }
}

/// The machines of one are as good as the other's.
fn is_like(one: &PoolSpec, other: &PoolSpec) -> bool {
    let sized = PoolSpec {
        warm: other.warm,
        limit: other.limit,
        ..one.clone()
    };
    sized == *other
}

/// What lists and ends the machines of a pool; it can't launch any.
///
/// # Errors
/// This host can't have such machines.
pub(crate) async fn reaper(pool: &PoolSpec) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(match &pool.source {
        Source::Local(spec) => Arc::new(local::provider(spec, clocks(&pool.timing))?),
        Source::Amazon(spec) => Arc::new(amazon::reaper(pool, spec).await?),
    })
}

/// The dead-man's clocks of a pool. Its machines outlive the runner: they are
/// never attached to it.
fn clocks(timing: &Timing) -> Clocks {
    let usual = Clocks::default();
    Clocks {
        boot: timing.boot_clock.unwrap_or(usual.boot),
        idle: timing.idle_clock.unwrap_or(usual.idle),
        stage_grace: timing.stage_grace.unwrap_or(usual.stage_grace),
        attached: false,
    }
}

fn config(pool: &PoolSpec, owner: &Owner, deployment: &DeploymentId) -> PoolConfig {
    let usual = PoolConfig::new(pool.name.as_str(), pool.warm, pool.limit);
    let booting = match pool.source {
        Source::Local(_) => local::BOOTING,
        Source::Amazon(_) => usual.deadlines.booting,
    };
    PoolConfig {
        owner: owner.clone(),
        deployment: deployment.clone(),
        deadlines: deadlines(&pool.timing, booting),
        max_age: pool.timing.max_age.unwrap_or(usual.max_age),
        ..usual
    }
}

fn deadlines(timing: &Timing, booting: Duration) -> Deadlines {
    let (given, usual) = (&timing.deadlines, Deadlines::default());
    Deadlines {
        launching: given.launching.unwrap_or(usual.launching),
        booting: given.booting.unwrap_or(booting),
        prepare: given.prepare.unwrap_or(usual.prepare),
        draining: given.draining.unwrap_or(usual.draining),
        terminating: given.terminating.unwrap_or(usual.terminating),
        acquire: given.acquire.unwrap_or(usual.acquire),
        stage: given.stage.unwrap_or(usual.stage),
    }
}
