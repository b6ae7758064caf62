//! `vmpool pool`: the pools of a runner, for people and programs.

mod args;
mod json;
mod ledger;
mod ls;
mod top;
mod word;

pub(crate) use self::args::PoolCommand;
pub(crate) use self::ls::{since, table};
use crate::exit::{Exit, Stopped};

/// Runs the command.
pub(crate) async fn pool(command: &PoolCommand) -> Result<Exit, Stopped> {
    match command {
        PoolCommand::Ls(args) => ls::ls(args).await,
        PoolCommand::Top(args) => top::top(args).await,
        PoolCommand::Ledger(args) => ledger::ledger(args).await,
        PoolCommand::Cordon(args) => word::cordon(args).await,
        PoolCommand::Drain(args) => word::drain(args).await,
        PoolCommand::Fill(args) => word::fill(args).await,
    }
}
