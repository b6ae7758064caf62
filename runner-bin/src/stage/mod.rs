//! `vmpool stage`: the stages of a runner, shown and cancelled.

mod args;
mod cancel;
mod ls;

pub(crate) use self::args::StageCommand;
use crate::exit::{Exit, Stopped};

/// Runs the command.
pub(crate) async fn stage(command: &StageCommand) -> Result<Exit, Stopped> {
    match command {
        StageCommand::Ls(args) => ls::ls(args).await,
        StageCommand::Cancel(args) => cancel::cancel(args).await,
    }
}
