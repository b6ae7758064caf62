//! The journal that a command is about.

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;
use vmpool_core::journal::JournalError;
use vmpool_store::{Entry, PostgresJournal, SqliteJournal};

use super::args::WhereArgs;
use crate::exit::{Exit, OrExit as _, Stopped};

/// Entries that wait to be told at most.
const AHEAD: usize = 1_024;

/// What helps where a file itself is damaged.
pub(super) const DAMAGED: &str =
    "stop its runner, and start it again on a backup: see docs/journal.md";

/// A journal, open for reading.
#[derive(Debug)]
pub(super) enum Source {
    File(SqliteJournal),
    Database(Box<PostgresJournal>),
}

impl Source {
    /// Opens it, with its name for people.
    ///
    /// # Errors
    /// There is none, it can't be reached, or another release wrote it.
    pub(super) async fn open(at: &WhereArgs) -> Result<(Self, String), Stopped> {
        if let Some(url) = &at.journal {
            let name = PostgresJournal::shown(url);
            let name = name.context("--journal").or_exit(Exit::BadInput)?;
            let journal = PostgresJournal::connect_read_only(url).await;
            let journal = journal.or_exit(Exit::Failed)?;
            return Ok((Self::Database(Box::new(journal)), name));
        }
        let state = at.state.as_ref();
        let state = state.ok_or_else(|| anyhow!("--state DIR or --journal URL names the journal"));
        let path = state.or_exit(Exit::BadInput)?.join("vmpool.db");
        let name = path.display().to_string();
        if !path.exists() {
            return Err(anyhow!("there is no journal {name}")).or_exit(Exit::BadInput);
        }
        let journal = SqliteJournal::open_read_only(&path).map_err(|error| {
            let is_damage = error.is_damage();
            let error = anyhow::Error::from(error);
            if is_damage {
                return error.context(format!("{name} is damaged; {DAMAGED}"));
            }
            error
        });
        Ok((Self::File(journal.or_exit(Exit::Failed)?), name))
    }

    /// Tells everything, as of one moment, until `hear` fails.
    ///
    /// # Errors
    /// It can't be read, or `hear` failed.
    pub(super) async fn tell<E>(
        &self,
        mut hear: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<Result<(), E>, JournalError> {
        let (to, mut from) = mpsc::channel(AHEAD);
        let telling = async {
            match self {
                Self::File(journal) => journal.entries(to).await,
                Self::Database(journal) => journal.entries(to).await,
            }
        };
        let hearing = async {
            while let Some(entry) = from.recv().await {
                if let Err(error) = hear(entry) {
                    // Closed, so that the journal stops telling.
                    from.close();
                    return Err(error);
                }
            }
            Ok(())
        };
        let (told, heard) = tokio::join!(telling, hearing);
        told.map(|()| heard)
    }
}
