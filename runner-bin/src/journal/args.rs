//! The options of `vmpool journal`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// Shown below the options.
const EXPORT: &str = "\
Examples:
  vmpool journal export --state /var/lib/vmpool > journal.jsonl
  vmpool journal export --state /var/lib/vmpool | jq 'select(.kind == \"machine\").row.state'

Exit codes: 0 all was told; 1 the journal can't be read; 2 bad input, or there is none";

const CHECK: &str = "\
Examples:
  vmpool journal check --state /var/lib/vmpool
  vmpool journal check --state /var/lib/vmpool --pool pool.yml

Exit codes: 0 it is in order; 1 it is not, or can't be read; 2 bad input, or there is none";

const BACKUP: &str = "\
Examples:
  vmpool journal backup --state /var/lib/vmpool /backup/vmpool-$(date +%F).db

Exit codes: 0 the copy is whole and on the disk; 1 it can't be made; 2 bad input, there is no \
journal, the copy is there already, or the journal is a database";

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Print all of a journal, as of one moment, a JSON object a line
    ///
    /// First the pools, then the rows of orders, machines, stages and steps, then the events, the
    /// oldest first. Sealed requests are left out. It works beside a runner.
    #[command(after_help = EXPORT)]
    Export(ExportArgs),
    /// See that a journal is whole and its rows agree with each other
    ///
    /// It works beside a runner, and changes nothing.
    #[command(after_help = CHECK)]
    Check(CheckArgs),
    /// Copy the journal in a state directory into a new file, also while its runner writes
    #[command(after_help = BACKUP)]
    Backup(BackupArgs),
}

/// Which journal.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which journal")]
pub(crate) struct WhereArgs {
    /// The state directory of a runner, with its journal vmpool.db
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath,
        required_unless_present = "journal")]
    pub(crate) state: Option<PathBuf>,

    /// A journal that several runners share, as postgres://USER@HOST/DATABASE; it goes before
    /// --state
    #[arg(
        long,
        value_name = "URL",
        env = "VMPOOL_JOURNAL",
        hide_env_values = true
    )]
    pub(crate) journal: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) at: WhereArgs,

    /// JSON lines: the only form there is
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) at: WhereArgs,

    /// A pool file: its limits are held against the slots that are occupied
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) pool: Option<PathBuf>,

    /// What was found as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) at: WhereArgs,

    /// The new file, readable by its owner only; one that is there is not overwritten
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}
