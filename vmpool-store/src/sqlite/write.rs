//! The writes: what happens in one savepoint.
//!
//! A commit holds everything against the rows before it changes any, as the
//! writer is the only one: terms first, then versions, then the limit.

use rusqlite::{Connection, OptionalExtension as _, ToSql, params};
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{CommitError, Compacted, Holder, RowKey, Taken};
use vmpool_core::{PoolName, Term, Version};

use super::read;
use crate::record::{BatchRecord, EventRecord, RowRecord, columns, integer, natural};

/// Rows that one step of a compaction removes at most, so that commits get
/// their turn in between.
pub(super) const COMPACT_AT_ONCE: u32 = 250;

pub(super) fn raise_term(
    conn: &Connection,
    pool: &PoolName,
    now: Timestamp,
) -> rusqlite::Result<Term> {
    let sql = "INSERT INTO pools (name, term) VALUES (?1, max(1, ?2))
               ON CONFLICT DO UPDATE SET term = max(term + 1, ?2) RETURNING term";
    let term = conn
        .prepare_cached(sql)?
        .query_row(params![pool.as_str(), integer(now.0)], |row| row.get(0))?;
    Ok(Term(natural(term)))
}

pub(super) fn take(
    conn: &Connection,
    pool: &PoolName,
    holder: &Holder,
    until: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Taken> {
    let held = read::ownership(conn, pool, now)?;
    if let Some(held) = held
        && !held.left.is_zero()
        && held.holder.runner != holder.runner
    {
        return Ok(Taken::Theirs(held));
    }
    let term = raise_term(conn, pool, now)?;
    conn.prepare_cached(
        "UPDATE pools SET runner = ?2, url = ?3, lease_until = ?4 WHERE name = ?1",
    )?
    .execute(params![
        pool.as_str(),
        holder.runner.as_str(),
        &*holder.url,
        integer(until.0)
    ])?;
    Ok(Taken::Ours(term))
}

pub(super) fn renew(
    conn: &Connection,
    pool: &PoolName,
    term: Term,
    until: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE pools SET lease_until = ?3
               WHERE name = ?1 AND term = ?2 AND lease_until IS NOT NULL";
    let renewed = conn.prepare_cached(sql)?.execute(params![
        pool.as_str(),
        integer(term.0),
        integer(until.0)
    ])?;
    Ok(renewed == 1)
}

/// False: another term rules the pool.
pub(super) fn cordon(
    conn: &Connection,
    pool: &PoolName,
    term: Term,
    cordon: Option<&str>,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE pools SET cordon = ?3 WHERE name = ?1 AND term = ?2";
    let written =
        conn.prepare_cached(sql)?
            .execute(params![pool.as_str(), integer(term.0), cordon])?;
    Ok(written > 0)
}

pub(super) fn give_up(
    conn: &Connection,
    pool: &PoolName,
    term: Term,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "UPDATE pools SET lease_until = min(lease_until, ?3) WHERE name = ?1 AND term = ?2";
    conn.prepare_cached(sql)?
        .execute(params![pool.as_str(), integer(term.0), integer(now.0)])?;
    Ok(())
}

/// The inner result is the batch's answer; nothing was changed if it is an error.
pub(super) fn commit(
    conn: &Connection,
    batch: &BatchRecord,
) -> rusqlite::Result<Result<(), CommitError>> {
    let theirs = conn
        .prepare_cached("SELECT term FROM pools WHERE name = ?1")?
        .query_row([batch.pool.as_str()], |row| row.get(0))
        .optional()?
        .map(|term| Term(natural(term)));
    if let Some(theirs) = theirs
        && theirs > batch.term
    {
        return Ok(Err(CommitError::Fenced {
            pool: batch.pool.clone(),
            ours: batch.term,
            theirs,
        }));
    }
    let (mut freed, mut taken) = (0, 0);
    let mut puts = Vec::with_capacity(batch.rows.len());
    for row in &batch.rows {
        let current = current(conn, row)?;
        let found = current.as_ref().map(|current| current.version);
        if found.map_or(Version(1), Version::next) != row.version {
            return Ok(Err(CommitError::Conflict {
                key: row.key.clone(),
                wanted: row.version,
                found,
            }));
        }
        freed += current.as_ref().map_or(0, |current| current.slots);
        taken += row.slots;
        puts.push(match current {
            None => Put::Insert,
            Some(current) if current.is_listed_alike => Put::Update,
            Some(_) => Put::UpdateAll,
        });
    }
    if let Some(limit) = batch.limit {
        let wanted = (occupied(conn, &batch.pool)? + taken).saturating_sub(freed);
        if wanted > limit {
            return Ok(Err(CommitError::Limit {
                pool: batch.pool.clone(),
                limit,
                wanted,
            }));
        }
    }
    if theirs.is_none_or(|theirs| theirs < batch.term) {
        let sql = "INSERT INTO pools (name, term) VALUES (?1, ?2)
                   ON CONFLICT DO UPDATE SET term = ?2";
        conn.prepare_cached(sql)?
            .execute(params![batch.pool.as_str(), integer(batch.term.0)])?;
    }
    for (row, how) in batch.rows.iter().zip(puts) {
        put(conn, row, batch.at, how)?;
    }
    for event in &batch.events {
        tell(conn, event, batch.at)?;
    }
    Ok(Ok(()))
}

/// Slots that the pool occupies (P7).
fn occupied(conn: &Connection, pool: &PoolName) -> rusqlite::Result<u32> {
    let sql = "SELECT (SELECT coalesce(sum(slots), 0) FROM orders WHERE pool = ?1 AND is_over = 0)
                    + (SELECT coalesce(sum(slots), 0) FROM machines WHERE pool = ?1 AND is_over = 0)";
    conn.prepare_cached(sql)?
        .query_row([pool.as_str()], |row| row.get(0))
}

/// What is there of a row that is to be written.
struct Current {
    version: Version,
    slots: u32,
    /// The new row has the same place in the lists of what is not over.
    is_listed_alike: bool,
}

/// How a row is written. SQLite writes the pages of every index that has one of
/// the columns set, though they stay as they are: those are set apart.
#[derive(Clone, Copy)]
enum Put {
    Insert,
    Update,
    UpdateAll,
}

fn current(conn: &Connection, row: &RowRecord) -> rusqlite::Result<Option<Current>> {
    let (_, id, step) = columns(&row.key);
    let sql = match &row.key {
        RowKey::Order(_) => {
            "SELECT version, slots, pool = ?2 AND is_over = ?3 FROM orders WHERE id = ?1"
        }
        RowKey::Machine(_) => {
            "SELECT version, slots, pool = ?2 AND is_over = ?3 FROM machines WHERE id = ?1"
        }
        RowKey::Stage(_) => {
            "SELECT version, 0, pool = ?2 AND is_over = ?3 FROM stages WHERE id = ?1"
        }
        RowKey::Step(..) => "SELECT version, 0, true FROM steps WHERE stage = ?1 AND id = ?2",
    };
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Current {
            version: Version(natural(row.get(0)?)),
            slots: row.get(1)?,
            is_listed_alike: row.get(2)?,
        })
    };
    let mut select = conn.prepare_cached(sql)?;
    match step {
        None => select.query_row(params![id, row.pool.as_str(), row.is_over], read),
        Some(step) => select.query_row([id, step], read),
    }
    .optional()
}

fn put(conn: &Connection, row: &RowRecord, at: Timestamp, how: Put) -> rusqlite::Result<()> {
    let (_, id, step) = columns(&row.key);
    let (version, at) = (integer(row.version.0), integer(at.0));
    let RowRecord {
        pool,
        slots,
        is_over,
        json,
        sealed,
        ..
    } = row;
    let pool = pool.as_str();
    let put = |sql, params: &[&dyn ToSql]| conn.prepare_cached(sql)?.execute(params).map(drop);
    match (&row.key, how) {
        (RowKey::Order(_), Put::Insert) => put(
            "INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![id, pool, version, slots, is_over, at, json, sealed],
        ),
        (RowKey::Order(_), Put::Update | Put::UpdateAll) => put(
            "UPDATE orders SET pool = ?2, version = ?3, slots = ?4, is_over = ?5,
                 changed_at = ?6, row = ?7, sealed = ?8 WHERE id = ?1",
            params![id, pool, version, slots, is_over, at, json, sealed],
        ),
        (RowKey::Machine(_), Put::Insert) => put(
            "INSERT INTO machines VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![id, pool, version, slots, is_over, at, json],
        ),
        (RowKey::Machine(_), Put::Update) => put(
            "UPDATE machines SET version = ?2, slots = ?3, changed_at = ?4, row = ?5 WHERE id = ?1",
            params![id, version, slots, at, json],
        ),
        (RowKey::Machine(_), Put::UpdateAll) => put(
            "UPDATE machines SET pool = ?2, version = ?3, slots = ?4, is_over = ?5,
                 changed_at = ?6, row = ?7 WHERE id = ?1",
            params![id, pool, version, slots, is_over, at, json],
        ),
        (RowKey::Stage(_), Put::Insert) => put(
            "INSERT INTO stages VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, pool, version, is_over, at, json],
        ),
        (RowKey::Stage(_), Put::Update) => put(
            "UPDATE stages SET version = ?2, changed_at = ?3, row = ?4 WHERE id = ?1",
            params![id, version, at, json],
        ),
        (RowKey::Stage(_), Put::UpdateAll) => put(
            "UPDATE stages SET pool = ?2, version = ?3, is_over = ?4, changed_at = ?5,
                 row = ?6 WHERE id = ?1",
            params![id, pool, version, is_over, at, json],
        ),
        (RowKey::Step(..), Put::Insert) => put(
            "INSERT INTO steps (stage, id, version, changed_at, row) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, step, version, at, json],
        ),
        (RowKey::Step(..), Put::Update | Put::UpdateAll) => put(
            "UPDATE steps SET version = ?3, changed_at = ?4, row = ?5
             WHERE stage = ?1 AND id = ?2",
            params![id, step, version, at, json],
        ),
    }
}

fn tell(conn: &Connection, event: &EventRecord, at: Timestamp) -> rusqlite::Result<()> {
    let (kind, id, step) = columns(&event.key);
    let sql = "INSERT INTO events (at, kind, id, step, version, what, cause)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.prepare_cached(sql)?
        .execute(params![
            integer(at.0),
            kind,
            id,
            step,
            integer(event.version.0),
            event.what,
            event.cause
        ])
        .map(drop)
}

/// One step of a compaction: events below `events_below`, and what was over
/// before `ended_before`. As long as it removes anything there may be more.
pub(super) fn compact(
    conn: &Connection,
    events_below: u64,
    ended_before: Timestamp,
) -> rusqlite::Result<Compacted> {
    let events = conn
        .prepare_cached(
            "DELETE FROM events WHERE seq IN (
                 SELECT seq FROM events WHERE seq < ?1 ORDER BY seq LIMIT ?2)",
        )?
        .execute(params![integer(events_below), COMPACT_AT_ONCE])?;
    let ended = params![integer(ended_before.0), COMPACT_AT_ONCE];
    let orders = conn
        .prepare_cached(
            "DELETE FROM orders WHERE id IN (
                 SELECT id FROM orders WHERE is_over = 1 AND changed_at < ?1 LIMIT ?2)",
        )?
        .execute(ended)?;
    // A stage whose steps were written of later is kept for them.
    let stages = conn
        .prepare_cached(
            "DELETE FROM stages WHERE id IN (
                 SELECT id FROM stages WHERE is_over = 1 AND changed_at < ?1 AND NOT EXISTS (
                     SELECT 1 FROM steps WHERE stage = stages.id AND steps.changed_at >= ?1)
                 LIMIT ?2) RETURNING id",
        )?
        .query_map(ended, |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut steps = 0;
    let mut forget = conn.prepare_cached("DELETE FROM steps WHERE stage = ?1")?;
    for stage in &stages {
        steps += forget.execute([stage])?;
    }
    Ok(Compacted {
        events: events as u64,
        rows: (orders + stages.len() + steps) as u64,
    })
}
