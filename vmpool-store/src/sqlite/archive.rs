//! All of a journal's file: read as one moment, checked, and copied, while its
//! runner writes.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rusqlite::{Connection, Row};
use tokio::sync::mpsc::Sender;
use tokio::task::spawn_blocking;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::JournalError;
use vmpool_core::{PoolName, RunnerId, Term, Version};

use super::SqliteJournal;
use super::read::read_event;
use super::schema;
use crate::entry::{EVENTS, Entry, POOLS, PoolEntry, RowEntry, RowKind};
use crate::record::natural;

/// What is told of a damaged file at most.
const DAMAGES: u32 = 20;

/// Why a journal was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is something of that name.
    #[error("{} is there already, and is not overwritten", path.display())]
    Exists {
        /// The copy.
        path: PathBuf,
    },
    /// The copy can't be made or kept.
    #[error("write the copy {}", path.display())]
    File {
        /// The copy.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite could not copy it.
    #[error("copy the journal to {}", path.display())]
    Database {
        /// The copy.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
}

impl SqliteJournal {
    /// Tells everything, as of one moment, until it is through or nobody
    /// listens any more. As long as that takes the file's log grows.
    ///
    /// # Errors
    /// It can't be read.
    ///
    /// # Cancel safety
    /// Safe: it ends when `to` is closed.
    pub async fn entries(&self, to: Sender<Entry>) -> Result<(), JournalError> {
        self.at_length("read all of", move |conn| {
            let _moment = conn.unchecked_transaction()?;
            tell_all(conn, &|entry| to.blocking_send(entry).is_ok())
        })
        .await
    }

    /// What SQLite finds wrong with the file; nothing, if it is in order.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn damages(&self) -> Result<Vec<String>, JournalError> {
        self.at_length("check", |conn| {
            let mut check = conn.prepare(&format!("PRAGMA integrity_check({DAMAGES})"))?;
            let mut found = check
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            found.retain(|line| line != "ok");
            Ok(found)
        })
        .await
    }

    /// Copies the journal into the new file `to`, readable by its owner only:
    /// whole and in order, also while a runner writes. Gives its size in
    /// bytes. Nothing is left of a copy that failed.
    ///
    /// # Errors
    /// See [`BackupError`].
    pub async fn back_up(&self, to: &Path) -> Result<u64, BackupError> {
        let (from, to) = (self.reader.path().to_owned(), to.to_owned());
        let failed_at = to.clone();
        let copied = spawn_blocking(move || copy(&from, &to)).await;
        copied.unwrap_or_else(|error| {
            Err(BackupError::File {
                path: failed_at,
                source: io::Error::other(error),
            })
        })
    }

    /// Work for which nobody waits, on a connection of its own.
    async fn at_length<T: Send + 'static>(
        &self,
        attempted: &str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let path = self.reader.path().to_owned();
        let done = spawn_blocking(move || work(&schema::connect_to_read(&path)?)).await;
        let reason = match done {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(JournalError {
            attempted: format!("{attempted} {}", self.reader.path().display()),
            reason,
        })
    }
}

fn tell_all(conn: &Connection, tell: &dyn Fn(Entry) -> bool) -> rusqlite::Result<()> {
    let pool = |row: &Row<'_>| {
        Ok(Entry::Pool(PoolEntry {
            name: PoolName::new(row.get::<_, String>(0)?),
            term: Term(natural(row.get(1)?)),
            runner: row.get::<_, Option<String>>(2)?.map(RunnerId::new),
            url: row.get(3)?,
            cordon: row.get(4)?,
        }))
    };
    let mut goes_on = each(conn, POOLS, pool, tell)?;
    for kind in RowKind::ALL {
        goes_on = goes_on && each(conn, kind.select(), |row| read_row(kind, row), tell)?;
    }
    if goes_on {
        each(conn, EVENTS, |row| Ok(Entry::Event(read_event(row)?)), tell)?;
    }
    Ok(())
}

/// False: nobody listens any more.
fn each(
    conn: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<Entry>,
    tell: &dyn Fn(Entry) -> bool,
) -> rusqlite::Result<bool> {
    for entry in conn.prepare(sql)?.query_map([], read)? {
        if !tell(entry?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_row(kind: RowKind, row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry::Row(RowEntry {
        kind,
        id: row.get(0)?,
        step: row.get(1)?,
        pool: row.get(2)?,
        version: Version(natural(row.get(3)?)),
        slots: row.get(4)?,
        is_over: row.get(5)?,
        changed_at: Timestamp(natural(row.get(6)?)),
        json: row.get(7)?,
        sealed_bytes: row.get::<_, Option<i64>>(8)?.map(natural),
    }))
}

fn copy(from: &Path, to: &Path) -> Result<u64, BackupError> {
    let failed = |source| BackupError::File {
        path: to.to_owned(),
        source,
    };
    if to.symlink_metadata().is_ok() {
        let path = to.to_owned();
        return Err(BackupError::Exists { path });
    }
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Its owner's only, from the beginning, and gone if this fails.
    let copy = tempfile::Builder::new()
        .prefix(".vmpool-backup-")
        .tempfile_in(folder)
        .map_err(failed)?;
    let name = copy.path().to_str().ok_or_else(|| {
        failed(io::Error::new(
            io::ErrorKind::InvalidInput,
            "its name is not UTF-8",
        ))
    })?;
    schema::connect_to_read(from)
        .and_then(|conn| conn.execute("VACUUM INTO ?1", [name]))
        .map_err(|source| BackupError::Database {
            path: to.to_owned(),
            source,
        })?;
    copy.as_file().sync_all().map_err(failed)?;
    let bytes = copy.as_file().metadata().map_err(failed)?.len();
    copy.persist_noclobber(to).map_err(|error| {
        if error.error.kind() == io::ErrorKind::AlreadyExists {
            let path = to.to_owned();
            return BackupError::Exists { path };
        }
        failed(error.error)
    })?;
    // So that its name outlives a power cut too.
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed)?;
    Ok(bytes)
}
