//! The options of `vmpool stage`.

use clap::{Args, Subcommand};

use crate::client::{RULE, RunnerArgs, SourceArgs};

const LS: &str = "\
Examples:
  vmpool stage ls                             the stages of the runner on this host
  vmpool stage ls --pool linux --state /var/lib/vmpool
  vmpool stage ls --json | jq -r '.stages[] | select(.state == \"waiting\").id'

Exit codes: 0 they are shown; 1 the journal can't be read; 2 bad input; 4 no runner reachable";

const CANCEL: &str = "\
Examples:
  vmpool stage cancel 17                      end the stage: its steps, then its machine
  vmpool stage cancel 17 build                end one step; the stage goes on
  vmpool stage cancel 17 --why 'wrong branch'

Exit codes: 0 it is cancelled, or was over; 2 bad input, or no such stage or step; 4 no runner \
reachable, or none has the pool";

#[derive(Debug, Subcommand)]
pub(crate) enum StageCommand {
    /// Show the stages that have machines or wait for one, and their steps
    #[command(after_help = LS, after_long_help = format!("{LS}\n\n{RULE}"))]
    Ls(LsArgs),
    /// End a stage, or one of its steps
    ///
    /// Who waits for a step that is cancelled is told so. What is over already stays as it is.
    #[command(after_help = CANCEL)]
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only the stages of this pool
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The stage
    pub(crate) stage: String,

    /// Only this step of it
    pub(crate) step: Option<String>,

    /// Why: told to whoever asks for the stage
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "step"
    )]
    pub(crate) why: String,

    #[command(flatten)]
    pub(crate) runner: RunnerArgs,
}
