//! The options that say whom to ask, and who says what to it.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::keys::KeyArgs;
use super::whoami;

/// Shown below the options of every command that has them.
pub(crate) const RULE: &str = "\
Whom it asks: with --runner that runner alone; with --state the runner that works there, and if \
none answers, its journal; with --journal alone that journal; else the runner at \
http://127.0.0.1:3001. A journal is only read, and knows nothing of what waits now, nor of what \
the providers have";

/// For what only a runner can do.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Whom it asks")]
pub(crate) struct RunnerArgs {
    /// A runner, by the address of its --grpc-listen [default: http://127.0.0.1:3001]
    #[arg(long, value_name = "URL", conflicts_with = "state", value_hint = ValueHint::Url)]
    pub(crate) runner: Option<String>,

    /// The state directory of a runner: the one that works there is asked
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Whom it asks")]
pub(crate) struct SourceArgs {
    /// A runner, by the address of its --grpc-listen [default: http://127.0.0.1:3001]
    #[arg(long, value_name = "URL", conflicts_with = "state", value_hint = ValueHint::Url)]
    pub(crate) runner: Option<String>,

    /// The state directory of a runner: it is asked, or its journal read if none runs
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,

    /// A journal that several runners share, as postgres://USER@HOST/DATABASE
    #[arg(
        long,
        value_name = "URL",
        env = "VMPOOL_JOURNAL",
        hide_env_values = true
    )]
    pub(crate) journal: Option<String>,

    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

/// What a person gives with a word that stays until it is taken back.
#[derive(Debug, Clone, Args)]
pub(crate) struct Word {
    /// Why: told to whoever asks
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) why: String,

    /// Who says so [default: your user name]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

impl Word {
    /// Who says so.
    pub(crate) fn by(&self) -> String {
        self.by.clone().unwrap_or_else(whoami)
    }
}
