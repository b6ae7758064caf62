//! `vmpool pool`: the pools of a runner, for people and programs.

mod args;
mod json;
mod ledger;
mod ls;
mod top;

pub(crate) use self::args::PoolCommand;
use crate::exit::{Exit, Stopped};

/// Runs the command.
pub(crate) async fn pool(command: &PoolCommand) -> Result<Exit, Stopped> {
    match command {
        PoolCommand::Ls(args) => ls::ls(args).await,
        PoolCommand::Top(args) => top::top(args).await,
        PoolCommand::Ledger(args) => ledger::ledger(args).await,
    }
}
