//! `vmpool journal`: a journal as a whole, told, checked, or copied, also while
//! runners work with it. What happened to one thing is `vmpool explain`'s.

mod args;
mod backup;
mod check;
mod export;
mod invariants;
mod source;

pub(crate) use self::args::JournalCommand;
use crate::exit::{Exit, Stopped};

/// Runs the command. Must be called within a tokio runtime.
pub(crate) async fn journal(command: &JournalCommand) -> Result<Exit, Stopped> {
    match command {
        JournalCommand::Export(args) => export::export(args).await,
        JournalCommand::Check(args) => check::check(args).await,
        JournalCommand::Backup(args) => backup::backup(args).await,
    }
}
