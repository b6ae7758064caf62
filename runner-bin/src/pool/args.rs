//! The options of `vmpool pool`.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::client::{RULE, RunnerArgs, SourceArgs, Word};

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

const CORDON: &str = "\
Examples:
  vmpool pool cordon linux --why 'the database is upgraded'
  vmpool pool fill linux                      take it back

Exit codes: 0 it is done, durably; 2 bad input, or no such pool; 4 no runner reachable, or none \
has the pool";

const DRAIN: &str = "\
Examples:
  vmpool pool drain linux --why 'another image'
  vmpool pool drain linux --wait 2h           and wait until its last machine is gone
  vmpool pool fill linux                      take it back

Exit codes: 0 it is done, durably; 1 it was not empty in time; 2 bad input, or no such pool; \
4 no runner reachable, or none has the pool";

const FILL: &str = "\
Examples:
  vmpool pool fill linux

Exit codes: 0 it is done, durably; 2 bad input, or no such pool; 4 no runner reachable, or none \
has the pool";

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
    /// Have a pool take no new stages, and keep what it has
    ///
    /// Stages that have a machine go on. Who waits or comes is told at once who said so, when and
    /// why, and goes to another pool where one is named. Nothing is ordered. It lasts until `vmpool
    /// pool fill`, also when the runner restarts or another takes the pool.
    #[command(after_help = CORDON)]
    Cordon(CordonArgs),
    /// Have a pool take no new stages, and end the machines that no stage has
    ///
    /// As cordon; besides, ready machines are ended now, and the others when their stages are over.
    #[command(after_help = DRAIN)]
    Drain(DrainArgs),
    /// Have a pool take stages again, and fill it now
    ///
    /// What held its orders off after failures is tried anew, too.
    #[command(after_help = FILL)]
    Fill(FillArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    /// The pool
    pub(crate) pool: String,

    #[command(flatten)]
    pub(crate) word: Word,

    /// Print the pool as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) runner: RunnerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) cordon: CordonArgs,

    /// Wait until its last machine is gone, at most so long, like 90s, 10m or 2h
    #[arg(long, value_name = "DURATION", value_parser = vmpool_pipeline::parse_duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct FillArgs {
    /// The pool
    pub(crate) pool: String,

    /// Print the pool as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) runner: RunnerArgs,
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
