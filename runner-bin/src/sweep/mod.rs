//! `vmpool sweep`: what the providers of a pool file have under our name that
//! nobody should have any more. Asks the providers alone: it needs no runner
//! and no journal, and works when the state directory is lost.
//!
//! Nothing is ended without `--yes`.

mod args;
mod told;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::geteuid;
use vmpool_agent::Authority;
use vmpool_core::sweep::{Other, Question, Swept, carry_out, plan};
use vmpool_core::{Clock, DeploymentId, MachineId, Owner, Provider};
use vmpool_local::{AgentCommand, LocalProvider};
use vmpool_pipeline::{PoolFile, parse_pool_file};

pub(crate) use self::args::{EXAMPLES, SweepArgs};
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::{complain, say};

/// A provider that takes longer to list its machines can't be asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// The deployment's root of trust, with its id, in the state directory.
const TRUST: &str = "trust.pem";

/// What was found and done.
struct Report {
    owner: Owner,
    ours: Option<DeploymentId>,
    act: bool,
    /// Machines that were ended, or would be.
    swept: Vec<Swept>,
    others: Vec<Other>,
    /// Providers that could not be asked, or not to the end.
    troubles: Vec<String>,
}

/// Runs the command. Must be called within a tokio runtime.
pub(crate) async fn sweep(args: &SweepArgs) -> Result<Exit, Stopped> {
    let file = read(&args.pool)?;
    let owner = owner(args.deployment.as_deref())?;
    let named = args.deployment_id.as_deref().map(DeploymentId::parse);
    let named = named
        .transpose()
        .context("--deployment-id")
        .or_exit(Exit::BadInput)?;
    let trust = args.trust.as_ref().or(args.state.as_ref());
    let ours = match trust {
        Some(folder) => deployment_in(folder).or_exit(Exit::BadInput)?,
        None => None,
    };
    let mut report = Report {
        owner,
        ours,
        act: args.yes,
        swept: Vec::new(),
        others: Vec::new(),
        troubles: Vec::new(),
    };
    for provider in providers(&file).or_exit(Exit::BadInput)? {
        ask(&mut report, &*provider, named.as_ref()).await;
    }
    let text = if args.json {
        told::json(&report)
    } else {
        told::text(&report, args)
    };
    say(text)?;
    for trouble in &report.troubles {
        complain(format_args!("vmpool: {trouble}"));
    }
    let is_done = report.swept.iter().all(|swept| swept.failed.is_none());
    Ok(if is_done && report.troubles.is_empty() {
        Exit::Success
    } else {
        Exit::Failed
    })
}

/// Asks one provider, and ends what it has to, if that is wanted.
async fn ask(report: &mut Report, provider: &dyn Provider, named: Option<&DeploymentId>) {
    let listing = match tokio::time::timeout(PATIENCE, provider.list(&report.owner)).await {
        Ok(Ok(listing)) => listing,
        Ok(Err(error)) => {
            let error = anyhow::Error::new(error);
            return report.troubles.push(format!("{error:#}"));
        }
        Err(_) => {
            let trouble = format!("the machines were not listed within {PATIENCE:?}");
            return report.troubles.push(trouble);
        }
    };
    if !listing.complete {
        let trouble = "the listing broke off: there may be more machines".to_owned();
        report.troubles.push(trouble);
    }
    let question = Question {
        owner: &report.owner,
        ours: report.ours.as_ref(),
        named,
        now: Clock::system().now(),
    };
    // Several pools may have their machines from one place.
    let seen: HashSet<MachineId> = report
        .swept
        .iter()
        .map(|swept| swept.machine.id.clone())
        .collect();
    let mut plan = plan(&listing.machines, &question);
    plan.end.retain(|machine| !seen.contains(&machine.id));
    report.swept.extend(if report.act {
        carry_out(provider, plan.end).await
    } else {
        let planned = plan.end.into_iter();
        planned
            .map(|machine| Swept {
                machine,
                failed: None,
            })
            .collect()
    });
    report.others.extend(plan.others);
}

fn read(path: &Path) -> Result<PoolFile, Stopped> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("read {}", path.display()))
        .or_exit(Exit::BadInput)?;
    let file = parse_pool_file(&path.to_string_lossy(), &text).or_exit(Exit::BadInput)?;
    for warning in &file.warnings {
        complain(format_args!("warning: {warning}"));
    }
    Ok(file)
}

fn owner(name: Option<&str>) -> Result<Owner, Stopped> {
    match name {
        Some(name) => Owner::parse(name)
            .context("--deployment")
            .or_exit(Exit::BadInput),
        None => Ok(Owner::new(format!("local-{}", geteuid()))),
    }
}

/// The id of the deployment whose root of trust is in `folder`, if there is
/// one; it is not made.
fn deployment_in(folder: &Path) -> anyhow::Result<Option<DeploymentId>> {
    if !folder.join(TRUST).exists() {
        return Ok(None);
    }
    let authority = Authority::open_or_create(folder)
        .with_context(|| format!("read the deployment's id in {}", folder.display()))?;
    Ok(Some(authority.deployment().clone()))
}

/// Where the machines of the file's pools come from, each place once.
fn providers(file: &PoolFile) -> anyhow::Result<Vec<Arc<dyn Provider>>> {
    let mut roots = HashSet::new();
    let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
    for pool in &file.pools {
        if !roots.insert(&pool.local.root) {
            continue;
        }
        let agent = AgentCommand::ThisProgram;
        let provider = match &pool.local.root {
            Some(root) => LocalProvider::with_root(agent, root),
            None => LocalProvider::new(agent),
        };
        let provider =
            provider.with_context(|| format!("look for the machines of pool {}", pool.name))?;
        providers.push(Arc::new(provider));
    }
    Ok(providers)
}
