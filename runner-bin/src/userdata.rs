//! `vmpool userdata`: what a machine of an EC2 pool would be given as its user
//! data. Asks nobody; the order that it is for never is.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueHint};
use serde_json::json;
use vmpool_agent::{Agents, Authority, LinkConfig};
use vmpool_aws::user_data::{MOST_BYTES, sent};
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{AgentLink as _, Attempt, OrderDraft, OrderId, Owner, Tags, Timestamp};
use vmpool_pipeline::{AmazonSpec, PoolFile, PoolSpec, Source};

use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::{complain, say};
use crate::serve::agents::Offered;
use crate::serve::pools;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool userdata --pool pool.yml               of the only EC2 pool of the file
  vmpool userdata --pool pool.yml linux-amd64   of this one
  vmpool userdata --pool pool.yml --secrets > user-data && cloud-init schema -c user-data
  vmpool userdata --pool pool.yml --json | jq .bytes

Exit codes: 0 it is on standard output; 2 bad input: also a template that no machine could start \
from";

#[derive(Debug, Args)]
pub(crate) struct UserDataArgs {
    /// The pool file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pool: PathBuf,

    /// The pool [default: the only one of EC2 machines]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The agents' programs, as `vmpool serve` would have them
    #[arg(long, value_name = "DIR", requires = "agents_url", value_hint = ValueHint::DirPath)]
    pub(crate) agents: Option<PathBuf>,

    /// Where machines would download them
    #[arg(long, value_name = "URL", requires = "agents")]
    pub(crate) agents_url: Option<String>,

    /// Print secrets as a machine needs them: those of an order that never is
    #[arg(long)]
    pub(crate) secrets: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn userdata(args: &UserDataArgs) -> Result<Exit, Stopped> {
    let file = pools::read(&args.pool)?;
    let (pool, spec) = chosen(&file, args.name.as_deref()).or_exit(Exit::BadInput)?;
    let agents = Offered::named(args.agents.as_deref(), args.agents_url.as_deref());
    let agents = agents.or_exit(Exit::BadInput)?;
    let user_data = pools::user_data(pool, spec, agents.as_ref())
        .with_context(|| format!("pool {}", pool.name))
        .or_exit(Exit::BadInput)?;
    let (tags, bootstrap) = example(pool).or_exit(Exit::Failed)?;
    let draft = OrderDraft {
        count: 1,
        tags: &tags,
        bootstrap: &bootstrap,
        avoid: &[],
        zone: None,
    };
    let whole = user_data.text(&draft).or_exit(Exit::BadInput)?;
    let whole = whole.unwrap_or_default();
    let sent = sent(&whole).or_exit(Exit::BadInput)?;
    let is_compressed = sent.as_slice() != whole.as_bytes();
    let text = if args.secrets {
        whole
    } else {
        let hidden = user_data.text_without_secrets(&draft);
        hidden.or_exit(Exit::BadInput)?.unwrap_or_default()
    };
    if args.json {
        let agent = if pools::is_incumbents(&user_data) {
            "incumbent"
        } else {
            "vmpool"
        };
        let object = json!({
            "pool": pool.name,
            "agent": agent,
            "bytes": sent.len(),
            "most_bytes": MOST_BYTES,
            "compressed": is_compressed,
            "text": text,
        });
        say(format_args!("{object}\n"))?;
    } else {
        let compressed = if is_compressed { ", compressed" } else { "" };
        complain(format_args!(
            "pool {}: {} bytes{compressed}, of {MOST_BYTES} that EC2 takes",
            pool.name,
            sent.len(),
        ));
        say(&text)?;
        if !text.ends_with('\n') {
            say("\n")?;
        }
    }
    Ok(Exit::Success)
}

/// The pool of that name, or the only one that has user data.
fn chosen<'f>(
    file: &'f PoolFile,
    name: Option<&str>,
) -> anyhow::Result<(&'f PoolSpec, &'f AmazonSpec)> {
    let mut found = Vec::new();
    for pool in &file.pools {
        if let Source::Amazon(spec) = &pool.source {
            found.push((pool, &**spec));
        }
    }
    let names = found.iter().map(|(pool, _)| pool.name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    match name {
        None => match found.as_slice() {
            [only] => Ok(*only),
            [] => anyhow::bail!("no pool of the file is of EC2 machines"),
            _ => anyhow::bail!("name one of the file's pools of EC2 machines: {names}"),
        },
        Some(name) => {
            let of_name = found.into_iter().find(|(pool, _)| pool.name == name);
            of_name.with_context(|| {
                format!("the file has no pool {name} of EC2 machines; those it has: {names}")
            })
        }
    }
}

/// What an order that never is has: of a CA and a key that are forgotten at once.
fn example(pool: &PoolSpec) -> anyhow::Result<(Tags, Bootstrap)> {
    let authority = Arc::new(Authority::ephemeral()?);
    let (order, attempt) = (
        OrderId::new("00000000-0000-7000-8000-000000000000"),
        Attempt(1),
    );
    let tags = Tags {
        owner: Owner::new("example"),
        deployment: authority.deployment().clone(),
        pool: pool.name.as_str().into(),
        order: order.clone(),
        attempt,
        expires_at: Timestamp(0),
    };
    let agents = Agents::new(authority, Clocks::default(), LinkConfig::default());
    Ok((tags, agents.bootstrap(&order, attempt)))
}
