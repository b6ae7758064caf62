//! The journal in one SQLite file, for one live runner: write-ahead logged,
//! synced at every commit.
//!
//! One thread [writes](writer), as many writes a transaction as wait; reads
//! have connections of their own and see the last commit. Two processes with
//! the file open at once do it no harm, but only [terms](vmpool_core::Term)
//! keep their pools apart: the state directory's lock keeps a second runner out.

mod archive;
mod read;
mod schema;
mod write;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, JournalError, MachineRow, OrderRow,
    Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};
use vmpool_core::{Journal, MachineId, OrderId, PoolName, StageId, Term};

pub use archive::BackupError;
pub use schema::OpenError;

use self::read::Reader;
use self::writer::{NotWritten, Writer};
use crate::record::{self, BatchRecord, before};

/// What may be chosen about a journal in a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOptions {
    /// Bytes that the database may grow to, without its log. A journal that is
    /// full takes no more writes until a compaction made room.
    pub size_limit: Option<u64>,
}

/// A journal in one SQLite file.
///
/// Dropped, it still makes the writes that it was handed, and closes the file.
#[derive(Debug)]
pub struct SqliteJournal {
    reader: Reader,
    /// None: opened for reading.
    writer: Option<Writer>,
}

impl SqliteJournal {
    /// Opens the journal in the file `path`, which is made if it is not there,
    /// readable by its owner only. Blocks for the disk's time.
    ///
    /// # Errors
    /// The file can't be used, or a newer release wrote it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`SqliteJournal::open`].
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let conn = schema::open(path, options.size_limit)?;
        let reader = Reader::new(schema::open_to_read(path)?, path);
        let writer = Writer::start(conn, path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            reader,
            writer: Some(writer),
        })
    }

    /// Opens a journal that is there for reading only, also beside its runner:
    /// every write is refused.
    ///
    /// # Errors
    /// There is none, or another release wrote it.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let conn = schema::open_to_read(path)?;
        Ok(Self {
            reader: Reader::new(conn, path),
            writer: None,
        })
    }

    /// Reads what stays so: after a commit that failed at the disk, another one
    /// must have succeeded first.
    async fn read<T: Send + 'static>(
        &self,
        attempted: impl FnOnce() -> String + Send,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        if self.writer.as_ref().is_some_and(Writer::is_in_doubt)
            && let Err(why) = self.write(|_| Ok(())).await
        {
            return Err(why.in_journal(attempted()));
        }
        self.reader.read(attempted, query).await
    }

    async fn write<T, F>(&self, work: F) -> Result<T, NotWritten>
    where
        T: Send + 'static,
        F: Fn(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        match &self.writer {
            Some(writer) => writer.write(work).await,
            None => Err(NotWritten::Unavailable(
                "it was opened for reading only".to_owned(),
            )),
        }
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        let of = pool.clone();
        self.write(move |conn| write::raise_term(conn, &of, now))
            .await
            .map_err(|why| why.in_journal(format!("raise the term of pool {pool}")))
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        let (of, holder) = (pool.clone(), holder.clone());
        self.write(move |conn| write::take(conn, &of, &holder, now.after(lease), now))
            .await
            .map_err(|why| why.in_journal(format!("take pool {pool}")))
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        let of = pool.clone();
        self.write(move |conn| write::renew(conn, &of, term, now.after(lease)))
            .await
            .map_err(|why| why.in_journal(format!("renew the lease of pool {pool}")))
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let of = pool.clone();
        self.write(move |conn| write::give_up(conn, &of, term, now))
            .await
            .map_err(|why| why.in_journal(format!("give pool {pool} up")))
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        let (of, cordon) = (pool.clone(), record::cordon(cordon));
        self.write(move |conn| write::cordon(conn, &of, term, cordon.as_deref()))
            .await
            .map_err(|why| why.in_journal(format!("cordon pool {pool}")))
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        let attempted = || "read the owners".to_owned();
        self.read(attempted, move |conn| read::pools(conn, now))
            .await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        batch.check()?;
        let batch = BatchRecord::new(batch).map_err(|error| CommitError::Unavailable {
            reason: format!("a row can't be written down: {error}"),
        })?;
        match self.write(move |conn| write::commit(conn, &batch)).await {
            Ok(answer) => answer,
            Err(NotWritten::Unavailable(reason)) => Err(CommitError::Unavailable { reason }),
            Err(NotWritten::Ambiguous(reason)) => Err(CommitError::Ambiguous { reason }),
        }
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        let of = pool.clone();
        self.read(
            || format!("read pool {pool}"),
            move |conn| read::pool(conn, &of),
        )
        .await
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        let of = id.clone();
        self.read(
            || format!("read machine {id}"),
            move |conn| read::machine(conn, &of),
        )
        .await
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        let of = id.clone();
        self.read(
            || format!("read stage {id}"),
            move |conn| read::stage(conn, &of),
        )
        .await
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        let after = after.cloned();
        let attempted = || "read the ledger".to_owned();
        self.read(attempted, move |conn| {
            read::ledger(conn, after.as_ref(), limit)
        })
        .await
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        let of = key.clone();
        self.read(
            || format!("read the history of {key}"),
            move |conn| read::history(conn, &of, limit),
        )
        .await
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        let of = id.clone();
        self.read(
            || format!("read order {id}"),
            move |conn| read::order(conn, &of),
        )
        .await
    }

    /// In small transactions, so that commits get their turn in between.
    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError> {
        let attempted = || "compact the journal".to_owned();
        let young_from = before(now, keep.events_for);
        let ended_before = before(now, keep.ended_for);
        let below = self
            .read(attempted, move |conn| {
                read::events_below(conn, young_from, keep.events_most)
            })
            .await?;
        let mut all = Compacted::default();
        loop {
            let some = self
                .write(move |conn| write::compact(conn, below, ended_before))
                .await
                .map_err(|why| why.in_journal(attempted()))?;
            if some == Compacted::default() {
                return Ok(all);
            }
            all.events += some.events;
            all.rows += some.rows;
        }
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        let attempted = || format!("read the events after {after}");
        self.read(attempted, move |conn| read::events(conn, after, limit))
            .await
    }
}

impl NotWritten {
    fn in_journal(self, attempted: String) -> JournalError {
        let (Self::Unavailable(reason) | Self::Ambiguous(reason)) = self;
        JournalError { attempted, reason }
    }
}
