//! The command line: what can be asked, and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use crate::clone::CloneArgs;
use crate::delegate::{self, DelegateArgs};
use crate::doctor::{self, DoctorArgs};
use crate::explain::ExplainArgs;
use crate::hold::HoldArgs;
use crate::journal::JournalCommand;
use crate::logs::LogsArgs;
use crate::pool::PoolCommand;
use crate::serve::{self, ServeArgs};
use crate::stage::StageCommand;
use crate::sweep::{self, SweepArgs};
use crate::userdata::{self, UserDataArgs};

const FIRST_SCREEN: &str = "\
vmpool runs CI pipelines on fresh machines that are kept warm.

  vmpool exec                 run this directory's .vmpool.yml or .drone.yml, here and now
  vmpool exec pipeline.yml    run another pipeline file
  vmpool validate FILE        check a pipeline file without running it
  vmpool serve                keep pools of machines and run builds on them
  vmpool pool ls              show its pools, their machines and what waits
  vmpool explain ID           why a build waits, or what became of it and its machine

`vmpool help` shows every command, `vmpool exec --help` every option with examples.
";

const EXIT_CODES: &str = "\
Exit codes: 0 all went well; 1 a step, or a check, failed; 2 bad input; \
3 no machine, or the machine was lost; 4 no runner reachable; 130 interrupted";

const EXEC_EXAMPLES: &str = "\
Examples:
  vmpool exec                                  run .vmpool.yml, else .drone.yml
  vmpool exec --event pull_request ci.yml      as if a pull request had triggered it
  vmpool exec --exclude deploy --secret-file secrets.env
  vmpool exec --include build --mount          one step, in this very directory
  vmpool exec --json | jq -r 'select(.event==\"log\").text'

Exit codes: 0 all went well; 1 a step failed; 2 bad input; 3 no machine, or the machine was \
lost; 130 interrupted";

/// What is said where no command is given.
pub(crate) fn first_screen() -> &'static str {
    FIRST_SCREEN
}

/// Fresh, warm machines for CI stages
#[derive(Debug, Parser)]
#[command(name = "vmpool", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipeline file here, now, on warm local machines
    ///
    /// Every pipeline of the file gets a machine of its own: an agent process of this host with
    /// a directory of its own, which is gone afterwards with all that it started. It isolates
    /// nothing: steps run as you, with your files and your network.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(Box<ExecArgs>),
    /// Keep pools of machines warm and run builds on them, for a Harness delegate or any CI system
    ///
    /// However the runner ends, the builds go on: the next one on the same state takes them over.
    #[command(after_help = serve::EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// The same under the incumbent's name, with its environment
    ///
    /// Every variable of it is honoured, or answered with one sentence at the start.
    #[command(after_help = delegate::EXAMPLES)]
    Delegate(DelegateArgs),
    /// Check pipeline files and say what is wrong, or would not be honoured, and where
    #[command(after_help = "Exit codes: 0 all files can be run; 2 one can't")]
    Validate(ValidateArgs),
    /// Show the pools of a runner: what they do, what waits, and every machine there ever was
    Pool {
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// Show the stages of a runner and their steps, or cancel one
    Stage {
        #[command(subcommand)]
        command: StageCommand,
    },
    /// Show what a step has printed, and follow what it prints
    Logs(LogsArgs),
    /// Keep a stage's machine after the stage's end, to look at it
    ///
    /// Nobody else gets it, what its steps left stays there, and it ends when the time is up. Say so
    /// while the stage runs, also where its steps have failed already: the machine of a stage that
    /// was given up ends at once.
    Hold(HoldArgs),
    /// Say what happened to a stage, a machine, an order or a request, and why
    Explain(ExplainArgs),
    /// End machines that nobody should have any more
    ///
    /// A runner asks its providers what they have under its name. With --pool they are asked
    /// directly: that needs no runner, and works when the state directory is lost. Without --yes
    /// nothing is ended. Without --deployment-id only expired machines of our own deployment are.
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(SweepArgs),
    /// Show what a machine of an EC2 pool would start from, without starting one
    ///
    /// Our own user data, or the pool file's template filled in for an order that never is.
    /// Secrets are replaced by a mark.
    #[command(after_help = userdata::EXAMPLES)]
    Userdata(UserDataArgs),
    /// Check all that a pool file needs: credentials, permissions, images, network, downloads
    ///
    /// Nothing is launched: what would change something is asked as a dry run.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print the JSON schema of pool files, for editors, or their reference
    PoolSchema {
        /// The reference instead, in Markdown
        #[arg(long)]
        reference: bool,
    },
    /// Export, check or copy a journal, also beside its runner
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// Print shell completions
    #[command(after_help = "Examples:\n  vmpool completions bash > \
        ~/.local/share/bash-completion/completions/vmpool\n  vmpool completions fish > \
        ~/.config/fish/completions/vmpool.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages, one for each command
    #[command(after_help = "Example:\n  vmpool man-pages ~/.local/share/man/man1")]
    ManPages {
        /// Where they go; it must be there
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Bring the files of a directory here (what a pipeline's clone step runs)
    #[command(hide = true)]
    CloneWorkspace(CloneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The pipeline file [default: .vmpool.yml, else .drone.yml]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// Machines at most at the same time [default: the number of CPUs]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) jobs: Option<u32>,

    /// Run only this step, and services; may be given several times
    #[arg(long, value_name = "STEP", help_heading = "What runs")]
    pub(crate) include: Vec<String>,

    /// Leave this step out; may be given several times
    #[arg(long, value_name = "STEP", help_heading = "What runs")]
    pub(crate) exclude: Vec<String>,

    /// The event that `trigger` and `when` see: push, pull_request, tag, promote, rollback, cron
    /// or custom [default: push, or tag with --tag]
    #[arg(long, help_heading = "What runs")]
    pub(crate) event: Option<String>,

    /// The branch that they see [default: git's current one]
    #[arg(long, help_heading = "What runs")]
    pub(crate) branch: Option<String>,

    /// The reference that they see [default: refs/heads/BRANCH; refs/tags/TAG with --tag;
    /// refs/pull/0/head for a pull request]
    #[arg(long = "ref", value_name = "REF", help_heading = "What runs")]
    pub(crate) reference: Option<String>,

    /// The tag that they see, and the event `tag` with it
    #[arg(long, help_heading = "What runs")]
    pub(crate) tag: Option<String>,

    /// Where a promotion or a rollback goes, as they see it
    #[arg(long, help_heading = "What runs")]
    pub(crate) target: Option<String>,

    /// The name of the cron job that they see
    #[arg(long, value_name = "NAME", help_heading = "What runs")]
    pub(crate) cron: Option<String>,

    /// Run the steps in the current directory itself instead of a copy of it
    #[arg(long, help_heading = "Where it runs")]
    pub(crate) mount: bool,

    /// Run the commands of steps that ask for a container image on this host, without the image
    #[arg(long, help_heading = "Where it runs")]
    pub(crate) ignore_image: bool,

    /// Ends a pipeline that names no timeout of its own, like 90s, 10m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = vmpool_pipeline::parse_duration,
        help_heading = "Where it runs")]
    pub(crate) timeout: Option<Duration>,

    /// Secrets, a line each as NAME=VALUE, for `from_secret`; no log shows their values
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        help_heading = "Secrets and variables")]
    pub(crate) secret_file: Vec<PathBuf>,

    /// Variables of every step, a line each as NAME=VALUE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        help_heading = "Secrets and variables")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Print events for programs, one JSON object a line
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Print plain lines, on a terminal too
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(crate) plain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The pipeline files
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_says_what_it_is_for() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments().filter(|a| a.get_id() != "help") {
                assert!(
                    argument.get_help().is_some(),
                    "{}: {}",
                    command.get_name(),
                    argument
                );
            }
        }
    }
}
