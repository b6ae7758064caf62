//! What is read: one statement each, so that all of it is of one moment.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use vmpool_core::StageId;
use vmpool_core::journal::{Event, OrderRow, PoolRows, StageRecord, StageRow, StepRow};

use crate::record::EventColumns;

/// A row that this release can't read.
#[derive(Debug, thiserror::Error)]
#[error("a row can't be read: {0}")]
pub(super) struct Unreadable(String);

pub(super) const POOL: &str = "
    WITH going_on AS (
        SELECT id, row FROM stages WHERE pool = $1 AND NOT is_over
        UNION ALL
        SELECT id, row FROM stages WHERE pool = $1 AND is_over AND id IN (
            SELECT stage FROM steps WHERE (row::jsonb ->> 'outcome') IS NULL))
    SELECT 'order' AS kind, id, 0::bigint AS place, row, sealed
    FROM orders WHERE pool = $1 AND NOT is_over
    UNION ALL
    SELECT 'machine', id, 0, row, NULL FROM machines WHERE pool = $1 AND NOT is_over
    UNION ALL
    SELECT 'stage', id, 0, row, NULL FROM going_on
    UNION ALL
    SELECT 'step', steps.stage, steps.place, steps.row, NULL
    FROM steps JOIN going_on ON going_on.id = steps.stage
    UNION ALL
    SELECT 'cordon', name, 0, cordon, NULL FROM pools WHERE name = $1 AND cordon IS NOT NULL
    ORDER BY kind, id, place";
pub(super) const STAGE: &str = "
    SELECT 'stage' AS kind, id, 0::bigint AS place, row, NULL FROM stages WHERE id = $1
    UNION ALL
    SELECT 'step', stage, place, row, NULL FROM steps WHERE stage = $1
    ORDER BY kind, id, place";
pub(super) const ORDER: &str = "SELECT row, sealed FROM orders WHERE id = $1";
pub(super) const MACHINE: &str = "SELECT row FROM machines WHERE id = $1";
pub(super) const LEDGER: &str = "SELECT row FROM machines WHERE id > $1 ORDER BY id LIMIT $2";
pub(super) const EVENTS: &str = "
    SELECT seq, at, kind, id, step, version, what, cause FROM events
    WHERE seq > $1 ORDER BY seq LIMIT $2";
/// The number below which events are forgotten: those of an age lie together at
/// the beginning, and numbers have no gaps.
pub(super) const EVENTS_BELOW: &str = "
    SELECT greatest(
        coalesce((SELECT seq FROM events WHERE at >= $1 ORDER BY seq LIMIT 1), last_event + 1),
        last_event + 1 - $2)
    FROM tail";
pub(super) const HISTORY: &str = "
    SELECT seq, at, kind, id, step, version, what, cause FROM events
    WHERE id = $1 AND (kind = $2 OR ($2 = 'stage' AND kind = 'step'))
          AND ($3::text IS NULL OR step = $3)
    ORDER BY seq DESC LIMIT $4";
pub(super) const POOLS: &str = "
    SELECT name, runner, url, term, ms_left(lease_until) FROM pools ORDER BY name";

/// The rows of [`POOL`] or [`STAGE`].
pub(super) fn pool(rows: &[Row]) -> Result<PoolRows, Unreadable> {
    let mut found = PoolRows::default();
    let mut places: HashMap<StageId, usize> = HashMap::new();
    for row in rows {
        match row.get::<_, &str>(0) {
            "order" => found.orders.push(order(row.get(3), row.get(4))?),
            "cordon" => found.cordon = Some(json(row.get(3))?),
            "machine" => found.machines.push(json(row.get(3))?),
            "stage" => {
                let stage: Arc<StageRow> = json(row.get(3))?;
                places.insert(stage.id.clone(), found.stages.len());
                found.stages.push(StageRecord {
                    stage,
                    steps: Vec::new(),
                });
            }
            _ => {
                let step: Arc<StepRow> = json(row.get(3))?;
                if let Some(place) = places.get(&step.stage) {
                    found.stages[*place].steps.push(step);
                }
            }
        }
    }
    Ok(found)
}

pub(super) fn order(text: &str, sealed: &[u8]) -> Result<Arc<OrderRow>, Unreadable> {
    Ok(Arc::new(OrderRow {
        sealed: sealed.into(),
        ..json(text)?
    }))
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))
}

pub(super) fn event(row: &Row) -> Result<Event, Unreadable> {
    let read = EventColumns {
        seq: row.get(0),
        at: row.get(1),
        kind: row.get(2),
        id: row.get(3),
        step: row.get(4),
        version: row.get(5),
        what: row.get(6),
        cause: row.get(7),
    };
    Event::try_from(read).map_err(|error| Unreadable(error.to_string()))
}
