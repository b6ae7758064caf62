//! The options of `vmpool pool`.

use clap::{Args, Subcommand};

use crate::client::{RULE, SourceArgs};

const LS: &str = "\
Examples:
  vmpool pool ls                              the pools of the runner on this host
  vmpool pool ls linux --state /var/lib/vmpool
  vmpool pool ls --json | jq '.pools[] | {name, ready, waiting}'

Exit codes: 0 they are shown; 1 the journal can't be read; 2 bad input; 4 no runner reachable";

const TOP: &str = "\
Examples:
  vmpool pool top
  vmpool pool top linux --runner http://127.0.0.1:3001

Keys: q ends it, the arrows move through the machines. A runner that restarts is found again.

Exit codes: 0 it was ended; 2 bad input, or standard output is no terminal; 4 no runner reachable";

const LEDGER: &str = "\
Examples:
  vmpool pool ledger                          every machine ever seen, with its end
  vmpool pool ledger --state /var/lib/vmpool  the same without a runner
  vmpool pool ledger --json | jq -r 'select(.unaccounted).id'

Exit codes: 0 all machines are accounted for; 1 some are not, or the journal can't be read; \
2 bad input; 4 no runner reachable";

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Show the pools, their machines, what waits and why
    #[command(after_help = LS, after_long_help = format!("{LS}\n\n{RULE}"))]
    Ls(ShownArgs),
    /// Show the same on a live screen
    #[command(after_help = TOP, after_long_help = format!("{TOP}\n\n{RULE}"))]
    Top(TopArgs),
    /// Show every machine ever seen with its end, and whether all are accounted for
    ///
    /// A machine is unaccounted for when the provider has it and the journal does not, or the
    /// other way round: that must never last. Only a runner can say, for the pools that it owns.
    #[command(after_help = LEDGER, after_long_help = format!("{LEDGER}\n\n{RULE}"))]
    Ledger(ShownArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShownArgs {
    /// Only this pool
    pub(crate) pool: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Only this pool
    pub(crate) pool: Option<String>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}
