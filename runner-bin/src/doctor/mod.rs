//! `vmpool doctor`: what a pool file needs, looked at before it matters: one
//! line a check, with what is wrong and what to mend. Changes nothing but that
//! it makes the directories of local machines, as a runner would.

mod agents;
mod told;

use std::path::PathBuf;

use clap::{Args, ValueHint};
use nix::sys::resource::{Resource, getrlimit};
use vmpool_aws::checkup::{Finding, Verdict};
use vmpool_pipeline::{PoolSpec, Source};

use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;
use crate::serve::agents::Offered;
use crate::serve::pools;

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  vmpool doctor --pool pool.yml             check all that the pools need
  vmpool doctor --pool pool.yml --json      the same for programs
  vmpool doctor --pool pool.yml --agents /usr/lib/vmpool/agents --agents-url http://10.0.0.5:3003
                                            with the agents that the runner would offer

Exit codes: 0 all is well; 1 a check failed; 2 the file or the agents can't be read";

/// Files that a runner has open for each of its machines, about.
const FILES_A_MACHINE: u64 = 4;

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The pool file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pool: PathBuf,

    /// The agents' programs, as `vmpool serve` would have them
    #[arg(long, value_name = "DIR", requires = "agents_url", value_hint = ValueHint::DirPath)]
    agents: Option<PathBuf>,

    /// Where machines would download them
    #[arg(long, value_name = "URL", requires = "agents")]
    agents_url: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A pool and what was found.
struct Examined {
    pool: String,
    found: Vec<Finding>,
}

/// Runs the command. Must be called within a tokio runtime.
pub(crate) async fn doctor(args: &DoctorArgs) -> Result<Exit, Stopped> {
    let file = pools::read(&args.pool)?;
    let offered = Offered::named(args.agents.as_deref(), args.agents_url.as_deref());
    let offered = offered.or_exit(Exit::BadInput)?;
    let mut examined = Vec::with_capacity(file.pools.len());
    for pool in &file.pools {
        examined.push(Examined {
            pool: pool.name.clone(),
            found: examine(pool, offered.as_ref()).await,
        });
    }
    say(if args.json {
        told::json(&examined)
    } else {
        told::text(&examined)
    })?;
    let mut found = examined.iter().flat_map(|examined| &examined.found);
    Ok(if found.all(|finding| finding.verdict != Verdict::Wrong) {
        Exit::Success
    } else {
        Exit::Failed
    })
}

async fn examine(pool: &PoolSpec, offered: Option<&Offered>) -> Vec<Finding> {
    match &pool.source {
        Source::Local(_) => {
            let place = pools::reaper(pool).await;
            vec![
                Finding::new(
                    "directory",
                    place
                        .map(|_| "it is this user's, and can be written".to_owned())
                        .map_err(|error| format!("{error:#}: mend spec.root")),
                ),
                Finding::new("open files", open_files(pool.limit)),
            ]
        }
        Source::Amazon(spec) => {
            let mut found = pools::check_up(pool, spec).await;
            found.extend(agents::downloads(&pool.platform, offered).await);
            found
        }
    }
}

fn open_files(machines: u32) -> Result<String, String> {
    let needed = u64::from(machines) * FILES_A_MACHINE;
    let (allowed, most) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| format!("read this process's limit: {error}"))?;
    if allowed < needed {
        return Err(format!(
            "{allowed} are allowed, and a limit of {machines} machines needs about {needed}: \
             lower limit, or raise the runner's (LimitNOFILE; at most {most})"
        ));
    }
    Ok(format!("{allowed} are allowed, about {needed} are needed"))
}
