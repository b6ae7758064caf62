//! `vmpool sweep`: what the providers have under our name that nobody should
//! have any more. A runner asks its providers; with a pool file they are asked
//! directly, which needs no runner and no journal, and works when the state
//! directory is lost.
//!
//! Nothing is ended without `--yes`.

mod args;
mod told;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use vmpool_agent::Authority;
use vmpool_core::sweep::{Question, sweep as ask};
use vmpool_core::{Clock, DeploymentId, Provider};
use vmpool_proto::v1::{SweepRequest, SweepResponse};

pub(crate) use self::args::{EXAMPLES, SweepArgs};
use crate::client::the_runner;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::messages;
use crate::out::{complain, say};
use crate::screen::printable;
use crate::serve::pools;

/// The deployment's root of trust, with its id, in the state directory.
const TRUST: &str = "trust.pem";

/// Runs the command. Must be called within a tokio runtime.
pub(crate) async fn sweep(args: &SweepArgs) -> Result<Exit, Stopped> {
    let named = args.deployment_id.as_deref().map(DeploymentId::parse);
    let named = named
        .transpose()
        .context("--deployment-id")
        .or_exit(Exit::BadInput)?;
    let swept = if let Some(file) = &args.pool {
        ask_providers(file, args, named.as_ref()).await?
    } else {
        let runner = the_runner(args.runner.as_deref(), args.state.as_deref(), &args.keys).await?;
        let request = SweepRequest {
            act: args.yes,
            deployment_id: named.map(|id| id.to_string()).unwrap_or_default(),
        };
        runner.sweep(request).await?
    };
    say(if args.json {
        told::json(&swept)
    } else {
        told::text(&swept, args)
    })?;
    for trouble in &swept.troubles {
        complain(format_args!("vmpool: {}", printable(trouble)));
    }
    let is_done = swept.ended.iter().all(|machine| machine.failed.is_empty());
    Ok(if is_done && swept.troubles.is_empty() {
        Exit::Success
    } else {
        Exit::Failed
    })
}

async fn ask_providers(
    file: &Path,
    args: &SweepArgs,
    named: Option<&DeploymentId>,
) -> Result<SweepResponse, Stopped> {
    let file = pools::read(file)?;
    let owner = pools::owner(args.deployment.as_deref(), &file)?;
    let trust = args.trust.as_ref().or(args.state.as_ref());
    let ours = match trust {
        Some(folder) => deployment_in(folder).or_exit(Exit::BadInput)?,
        None => None,
    };
    let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
    for pool in &file.pools {
        let provider = pools::reaper(pool)
            .await
            .with_context(|| format!("look for the machines of pool {}", pool.name))
            .or_exit(Exit::BadInput)?;
        providers.push(provider);
    }
    let question = Question {
        owner: &owner,
        ours: ours.as_ref(),
        named,
        now: Clock::system().now(),
    };
    let report = ask(&providers, &question, args.yes).await;
    Ok(messages::swept(report, &question, args.yes))
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
