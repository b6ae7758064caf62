//! The reads, on connections that can't write, and off the async threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Event, Holder, JournalError, MachineRow, OrderRow, Ownership, PoolRows, RowKey, StageRecord,
    StepRow,
};
use vmpool_core::{MachineId, OrderId, PoolName, RunnerId, StageId, Term};

use super::schema;
use crate::record::{EventColumns, columns, integer, natural};

/// How long a read may take, waiting included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reads at once; each has its connection.
const READERS: usize = 4;

/// Reads from one database.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Reader {
    pub(super) fn new(first: Connection, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            turns: Arc::new(Semaphore::new(READERS)),
            idle: Arc::new(Mutex::new(vec![first])),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads in one transaction: all that `query` sees is of one moment.
    ///
    /// # Cancel safety
    /// Safe: a read that nobody waits for ends by itself.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        attempted: impl FnOnce() -> String + Send,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let deadline = Instant::now() + PATIENCE;
        let path = self.path.clone();
        let idle = self.idle.clone();
        let reading = async {
            let turn = self.turns.clone().acquire_owned().await;
            let job = spawn_blocking(move || {
                let _turn = turn;
                let kept = idle.lock().pop();
                let conn = kept.map_or_else(|| schema::connect_to_read(&path), Ok)?;
                let moment = conn.unchecked_transaction()?;
                let found = query(&conn);
                drop(moment);
                idle.lock().push(conn);
                found
            });
            job.await
        };
        let reason = match timeout_at(deadline, reading).await {
            Ok(Ok(Ok(found))) => return Ok(found),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) => "the read was given up".to_owned(),
            Err(_) => format!("its disk took longer than {PATIENCE:?}"),
        };
        Err(JournalError {
            attempted: format!("{} in {}", attempted(), self.path.display()),
            reason,
        })
    }
}

pub(super) fn ownership(
    conn: &Connection,
    pool: &PoolName,
    now: Timestamp,
) -> rusqlite::Result<Option<Ownership>> {
    let sql = "SELECT name, term, runner, url, lease_until FROM pools WHERE name = ?1";
    conn.prepare_cached(sql)?
        .query_row([pool.as_str()], |row| read_ownership(row, now))
        .optional()
}

pub(super) fn pools(conn: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Ownership>> {
    conn.prepare_cached("SELECT name, term, runner, url, lease_until FROM pools ORDER BY name")?
        .query_map([], |row| read_ownership(row, now))?
        .collect()
}

fn read_ownership(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<Ownership> {
    let runner: Option<String> = row.get(2)?;
    let url: Option<String> = row.get(3)?;
    let until: Option<i64> = row.get(4)?;
    Ok(Ownership {
        pool: PoolName::new(row.get::<_, String>(0)?),
        holder: Holder {
            runner: RunnerId::new(runner.unwrap_or_default()),
            url: url.unwrap_or_default().into(),
        },
        term: Term(natural(row.get(1)?)),
        left: Timestamp(natural(until.unwrap_or(0))).since(now),
    })
}

pub(super) fn pool(conn: &Connection, pool: &PoolName) -> rusqlite::Result<PoolRows> {
    let pool = pool.as_str();
    let orders = conn
        .prepare_cached(
            "SELECT row, sealed FROM orders WHERE pool = ?1 AND is_over = 0 ORDER BY id",
        )?
        .query_map([pool], read_order)?
        .collect::<rusqlite::Result<_>>()?;
    let machines = conn
        .prepare_cached("SELECT row FROM machines WHERE pool = ?1 AND is_over = 0 ORDER BY id")?
        .query_map([pool], read_json)?
        .collect::<rusqlite::Result<_>>()?;
    let mut select = conn.prepare_cached(
        "SELECT row FROM (
             SELECT id, row FROM stages WHERE pool = ?1 AND is_over = 0
             UNION ALL
             SELECT id, row FROM stages WHERE pool = ?1 AND is_over = 1 AND id IN (
                 SELECT stage FROM steps WHERE json_extract(row, '$.outcome') IS NULL))
         ORDER BY id",
    )?;
    let mut stages = Vec::new();
    for stage in select.query_map([pool], read_json)? {
        stages.push(with_steps(conn, stage?)?);
    }
    let cordon = conn
        .prepare_cached("SELECT cordon FROM pools WHERE name = ?1 AND cordon IS NOT NULL")?
        .query_row([pool], read_json)
        .optional()?;
    Ok(PoolRows {
        orders,
        machines,
        stages,
        cordon,
    })
}

pub(super) fn order(conn: &Connection, id: &OrderId) -> rusqlite::Result<Option<Arc<OrderRow>>> {
    conn.prepare_cached("SELECT row, sealed FROM orders WHERE id = ?1")?
        .query_row([id.as_str()], read_order)
        .optional()
}

pub(super) fn machine(
    conn: &Connection,
    id: &MachineId,
) -> rusqlite::Result<Option<Arc<MachineRow>>> {
    conn.prepare_cached("SELECT row FROM machines WHERE id = ?1")?
        .query_row([id.as_str()], read_json)
        .optional()
}

pub(super) fn stage(conn: &Connection, id: &StageId) -> rusqlite::Result<Option<StageRecord>> {
    conn.prepare_cached("SELECT row FROM stages WHERE id = ?1")?
        .query_row([id.as_str()], read_json)
        .optional()?
        .map(|stage| with_steps(conn, stage))
        .transpose()
}

fn with_steps(
    conn: &Connection,
    stage: Arc<vmpool_core::journal::StageRow>,
) -> rusqlite::Result<StageRecord> {
    let steps: Vec<Arc<StepRow>> = conn
        .prepare_cached("SELECT row FROM steps WHERE stage = ?1 ORDER BY place")?
        .query_map([stage.id.as_str()], read_json)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(StageRecord { stage, steps })
}

pub(super) fn ledger(
    conn: &Connection,
    after: Option<&MachineId>,
    limit: usize,
) -> rusqlite::Result<Vec<Arc<MachineRow>>> {
    // No id is empty.
    let after = after.map_or("", MachineId::as_str);
    conn.prepare_cached("SELECT row FROM machines WHERE id > ?1 ORDER BY id LIMIT ?2")?
        .query_map(params![after, integer(limit as u64)], read_json)?
        .collect()
}

pub(super) fn events(conn: &Connection, after: u64, limit: usize) -> rusqlite::Result<Vec<Event>> {
    let sql = "SELECT seq, at, kind, id, step, version, what, cause FROM events
               WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    conn.prepare_cached(sql)?
        .query_map(params![integer(after), integer(limit as u64)], read_event)?
        .collect()
}

/// The number below which events are forgotten.
pub(super) fn events_below(
    conn: &Connection,
    young_from: Timestamp,
    most: u64,
) -> rusqlite::Result<u64> {
    // Events of an age lie together at the beginning: the first young one ends
    // them. Numbers have no gaps.
    let sql = "SELECT max(
                   coalesce((SELECT seq FROM events WHERE at >= ?1 ORDER BY seq LIMIT 1), last + 1),
                   last + 1 - ?2)
               FROM (SELECT coalesce(max(seq), 0) AS last FROM events)";
    conn.prepare_cached(sql)?
        .query_row(params![integer(young_from.0), integer(most)], |row| {
            row.get(0).map(natural)
        })
}

pub(super) fn history(
    conn: &Connection,
    key: &RowKey,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let (kind, id, step) = columns(key);
    let sql = "SELECT seq, at, kind, id, step, version, what, cause FROM events
               WHERE id = ?1 AND (kind = ?2 OR (?2 = 'stage' AND kind = 'step'))
                     AND (?3 IS NULL OR step = ?3)
               ORDER BY seq DESC LIMIT ?4";
    let mut events = conn
        .prepare_cached(sql)?
        .query_map(params![id, kind, step, integer(limit as u64)], read_event)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    events.reverse();
    Ok(events)
}

pub(super) fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let read = EventColumns {
        seq: row.get(0)?,
        at: row.get(1)?,
        kind: row.get(2)?,
        id: row.get(3)?,
        step: row.get(4)?,
        version: row.get(5)?,
        what: row.get(6)?,
        cause: row.get(7)?,
    };
    Event::try_from(read).map_err(|error| unreadable(2, error))
}

fn read_order(row: &Row<'_>) -> rusqlite::Result<Arc<OrderRow>> {
    let order: OrderRow = read_json(row)?;
    let sealed: Vec<u8> = row.get(1)?;
    Ok(Arc::new(OrderRow {
        sealed: sealed.into(),
        ..order
    }))
}

fn read_json<T: DeserializeOwned>(row: &Row<'_>) -> rusqlite::Result<T> {
    let json = row.get_ref(0)?.as_str()?;
    serde_json::from_str(json).map_err(|error| unreadable(0, error))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
