//! The journal in a PostgreSQL database, for many runners.
//!
//! Batches that wait are [written](writer) together. All writers of a database
//! stand in one line there, so events are numbered in the order in which they
//! show, and every batch is held against all that were answered. Leases are
//! judged by the database's clock.
//!
//! The URL says with `sslmode=require` whether the database is spoken to over
//! TLS; its certificate is verified then.
//!
//! A database that is away fails every call within seconds, and is used again
//! once it is back.

mod address;
mod archive;
mod doubt;
mod error;
mod read;
mod schema;
mod sessions;
mod tls;
mod together;
mod wire;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, JournalError, MachineRow, OrderRow,
    Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};
use vmpool_core::{Journal, MachineId, OrderId, PoolName, RunnerId, StageId, Term};

pub use error::ConnectError;

use self::address::Address;
use self::doubt::Doubts;
use self::error::Meaning;
use self::schema::Access;
use self::sessions::Sessions;
use self::writer::Writer;
use crate::record::{self, BatchRecord, before, columns, integer, natural};

/// Connections for reads, and for writes of all kinds.
const READERS: usize = 4;
const WRITERS: usize = 4;
/// Rows that one step of a compaction removes at most: other runners' commits
/// wait for it.
const COMPACT_AT_ONCE: i32 = 250;
/// Tries of what others get in the way of.
const TRIES: usize = 5;
/// A lease for good.
const CENTURY: Duration = Duration::from_hours(24 * 36_525);

/// A journal in a PostgreSQL database.
///
/// Dropped, it still makes the writes that it was handed, and closes its
/// connections.
#[derive(Debug)]
pub struct PostgresJournal {
    reads: Sessions,
    writes: Sessions,
    doubts: Arc<Doubts>,
    /// None: opened for reading.
    writer: Option<Writer>,
}

impl PostgresJournal {
    /// Connects to the database `url`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`,
    /// and brings its schema up to date, one runner at a time.
    ///
    /// # Errors
    /// It can't be reached, would not keep what it answers, or a newer release
    /// wrote it. The password is part of no error.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let mut journal = Self::prepare(url, Access::Write).await?;
        let writer = Writer::start(journal.writes.clone(), journal.doubts.clone());
        journal.writer = Some(writer);
        Ok(journal)
    }

    /// Connects for reading only: every write is refused, and the schema must
    /// be that of this release.
    ///
    /// # Errors
    /// As [`PostgresJournal::connect`], or an older release wrote it.
    pub async fn connect_read_only(url: &str) -> Result<Self, ConnectError> {
        Self::prepare(url, Access::Read).await
    }

    /// The database of `url` as it may be shown: without the password.
    ///
    /// # Errors
    /// It is no URL that [`PostgresJournal::connect`] takes.
    pub fn shown(url: &str) -> Result<String, ConnectError> {
        Ok(Address::read(url)?.to_string())
    }

    /// Whether `url` is one of a database, and has a password in it, be it one
    /// that [`PostgresJournal::connect`] refuses.
    pub fn has_password(url: &str) -> bool {
        address::has_password(url)
    }

    async fn prepare(url: &str, access: Access) -> Result<Self, ConnectError> {
        let address = Address::read(url)?;
        schema::prepare(&address, access).await?;
        Ok(Self {
            reads: Sessions::new(&address, READERS),
            writes: Sessions::new(&address, WRITERS),
            doubts: Arc::default(),
            writer: None,
        })
    }

    /// The rows of a statement that reads.
    async fn read(
        &self,
        attempted: impl FnOnce() -> String + Send,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, JournalError> {
        let rows = self.reads.rows(&self.doubts, sql, params).await;
        rows.map_err(|failed| JournalError {
            attempted: attempted(),
            reason: failed.reason,
        })
    }

    /// The rows of a statement that writes, whole or not at all.
    async fn write(
        &self,
        attempted: impl Fn() -> String + Send,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, JournalError> {
        let failed = |reason| JournalError {
            attempted: attempted(),
            reason,
        };
        if self.writer.is_none() {
            return Err(failed("it was opened for reading only".to_owned()));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.writes.rows(&self.doubts, sql, params).await {
                Err(why) if why.meaning == Meaning::Again && tries < TRIES => {}
                rows => return rows.map_err(|why| failed(why.reason)),
            }
        }
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        let attempted = || format!("raise the term of pool {pool}");
        let sql = "SELECT raise_term($1, $2)";
        let rows = self
            .write(attempted, sql, &[&pool.as_str(), &integer(now.0)])
            .await?;
        Ok(Term(natural(one(&rows, attempted)?.get(0))))
    }

    /// `now` is for the term; leases go by the database's clock.
    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        let attempted = || format!("take pool {pool}");
        let sql = "SELECT is_ours, has_runner, has_url, in_term, has_ms
                   FROM take_pool($1, $2, $3, $4, $5)";
        let (who, url) = (holder.runner.as_str(), &*holder.url);
        let (lease, now) = (millis(lease), integer(now.0));
        let params: [&(dyn ToSql + Sync); 5] = [&pool.as_str(), &who, &url, &lease, &now];
        let rows = self.write(attempted, sql, &params).await?;
        let row = one(&rows, attempted)?;
        let owned = ownership(pool.clone(), row);
        Ok(if row.get(0) {
            Taken::Ours(owned.term)
        } else {
            Taken::Theirs(owned)
        })
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        _now: Timestamp,
    ) -> Result<bool, JournalError> {
        let attempted = || format!("renew the lease of pool {pool}");
        let sql = "UPDATE pools
                   SET lease_until = clock_timestamp() + $3::bigint * interval '1 millisecond'
                   WHERE name = $1 AND term = $2 AND lease_until IS NOT NULL RETURNING true";
        let (term, lease) = (integer(term.0), millis(lease));
        let rows = self
            .write(attempted, sql, &[&pool.as_str(), &term, &lease])
            .await?;
        Ok(!rows.is_empty())
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        _now: Timestamp,
    ) -> Result<(), JournalError> {
        let attempted = || format!("give pool {pool} up");
        let sql = "UPDATE pools SET lease_until = least(lease_until, clock_timestamp())
                   WHERE name = $1 AND term = $2 AND lease_until IS NOT NULL";
        self.write(attempted, sql, &[&pool.as_str(), &integer(term.0)])
            .await
            .map(drop)
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        let attempted = || format!("cordon pool {pool}");
        let sql = "UPDATE pools SET cordon = $3 WHERE name = $1 AND term = $2 RETURNING true";
        let (term, cordon) = (integer(term.0), record::cordon(cordon));
        let rows = self
            .write(attempted, sql, &[&pool.as_str(), &term, &cordon])
            .await?;
        Ok(!rows.is_empty())
    }

    async fn pools(&self, _now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        let attempted = || "read the owners".to_owned();
        let rows = self.read(attempted, read::POOLS, &[]).await?;
        let pools = rows.iter();
        Ok(pools
            .map(|row| ownership(PoolName::new(row.get::<_, &str>(0)), row))
            .collect())
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let unavailable = |reason| CommitError::Unavailable { reason };
        let Some(writer) = &self.writer else {
            return Err(unavailable("it was opened for reading only".to_owned()));
        };
        batch.check()?;
        let batch = BatchRecord::new(batch)
            .map_err(|error| unavailable(format!("a row can't be written down: {error}")))?;
        writer.write(batch).await
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        let attempted = || format!("read pool {pool}");
        let rows = self.read(attempted, read::POOL, &[&pool.as_str()]).await?;
        readable(read::pool(&rows), attempted)
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        let attempted = || format!("read machine {id}");
        let rows = self.read(attempted, read::MACHINE, &[&id.as_str()]).await?;
        let machine = rows.first().map(|row| read::json(row.get(0)));
        readable(machine.transpose(), attempted)
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        let attempted = || format!("read stage {id}");
        let rows = self.read(attempted, read::STAGE, &[&id.as_str()]).await?;
        let found = readable(read::pool(&rows), attempted)?;
        Ok(found.stages.into_iter().next())
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        let attempted = || "read the ledger".to_owned();
        // No id is empty.
        let after = after.map_or("", MachineId::as_str);
        let limit = integer(limit as u64);
        let rows = self
            .read(attempted, read::LEDGER, &[&after, &limit])
            .await?;
        let machines = rows.iter().map(|row| read::json(row.get(0)));
        readable(machines.collect(), attempted)
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        let attempted = || format!("read the history of {key}");
        let (kind, id, step) = columns(key);
        let limit = integer(limit as u64);
        let rows = self
            .read(attempted, read::HISTORY, &[&id, &kind, &step, &limit])
            .await?;
        let events = rows.iter().rev().map(read::event);
        readable(events.collect(), attempted)
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        let attempted = || format!("read order {id}");
        let rows = self.read(attempted, read::ORDER, &[&id.as_str()]).await?;
        let order = rows.first().map(|row| read::order(row.get(0), row.get(1)));
        readable(order.transpose(), attempted)
    }

    /// In small transactions, so that commits get their turn in between.
    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError> {
        let attempted = || "compact the journal".to_owned();
        let young_from = integer(before(now, keep.events_for).0);
        let ended_before = integer(before(now, keep.ended_for).0);
        let most = integer(keep.events_most);
        let rows = self
            .read(attempted, read::EVENTS_BELOW, &[&young_from, &most])
            .await?;
        let below: i64 = one(&rows, attempted)?.get(0);
        let sql = "SELECT events_gone, rows_gone FROM compact($1, $2, $3)";
        let params: [&(dyn ToSql + Sync); 3] = [&below, &ended_before, &COMPACT_AT_ONCE];
        let mut all = Compacted::default();
        loop {
            let rows = self.write(attempted, sql, &params).await?;
            let row = one(&rows, attempted)?;
            let some = Compacted {
                events: natural(row.get(0)),
                rows: natural(row.get(1)),
            };
            if some == Compacted::default() {
                return Ok(all);
            }
            all.events += some.events;
            all.rows += some.rows;
        }
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        let attempted = || format!("read the events after {after}");
        let (after, limit) = (integer(after), integer(limit as u64));
        let rows = self
            .read(attempted, read::EVENTS, &[&after, &limit])
            .await?;
        readable(rows.iter().map(read::event).collect(), attempted)
    }
}

fn one(rows: &[Row], attempted: impl FnOnce() -> String) -> Result<&Row, JournalError> {
    rows.first().ok_or_else(|| JournalError {
        attempted: attempted(),
        reason: "the database gave no row".to_owned(),
    })
}

fn readable<T>(
    read: Result<T, read::Unreadable>,
    attempted: impl FnOnce() -> String,
) -> Result<T, JournalError> {
    read.map_err(|error| JournalError {
        attempted: attempted(),
        reason: error.to_string(),
    })
}

/// Of columns 1 to 4: runner, URL, term, milliseconds left.
fn ownership(pool: PoolName, row: &Row) -> Ownership {
    let runner: Option<&str> = row.get(1);
    let url: Option<&str> = row.get(2);
    Ownership {
        pool,
        holder: Holder {
            runner: RunnerId::new(runner.unwrap_or_default()),
            url: url.unwrap_or_default().into(),
        },
        term: Term(natural(row.get(3))),
        left: Duration::from_millis(natural(row.get(4))),
    }
}

fn millis(lease: Duration) -> i64 {
    let millis = lease.min(CENTURY).as_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}
