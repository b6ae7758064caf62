//! What is written of a row or an event, the same for every database: columns
//! for what is asked for, JSON for the rest.
//!
//! Made before a writer is asked, so that it has nothing to do but write.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{Batch, Cordon, Event, OrderRow, Row, RowKey};
use vmpool_core::{MachineId, OrderId, PoolName, StageId, StepId, Term, Version};

/// A batch, ready to be written.
#[derive(Debug)]
pub(crate) struct BatchRecord {
    pub(crate) at: Timestamp,
    pub(crate) pool: PoolName,
    pub(crate) term: Term,
    pub(crate) limit: Option<u32>,
    pub(crate) rows: Vec<RowRecord>,
    pub(crate) events: Vec<EventRecord>,
}

/// A row, ready to be written.
#[derive(Debug)]
pub(crate) struct RowRecord {
    pub(crate) key: RowKey,
    /// Empty for a step: its stage has one.
    pub(crate) pool: PoolName,
    pub(crate) version: Version,
    pub(crate) slots: u32,
    /// Nothing is to be done about it any more.
    pub(crate) is_over: bool,
    pub(crate) json: String,
    /// An order's sealed request, which is not in the JSON.
    pub(crate) sealed: Arc<[u8]>,
}

/// An event, ready to be written.
#[derive(Debug)]
pub(crate) struct EventRecord {
    pub(crate) key: RowKey,
    pub(crate) version: Version,
    pub(crate) what: Cow<'static, str>,
    pub(crate) cause: Cow<'static, str>,
}

impl BatchRecord {
    pub(crate) fn new(batch: Batch) -> Result<Self, serde_json::Error> {
        let mut rows = Vec::with_capacity(batch.changes.len());
        let mut events = Vec::with_capacity(batch.changes.len() + batch.notes.len());
        for change in batch.changes {
            let row = RowRecord::new(&change.row)?;
            events.push(EventRecord {
                key: row.key.clone(),
                version: row.version,
                what: change.what.into(),
                cause: change.cause,
            });
            rows.push(row);
        }
        events.extend(batch.notes.into_iter().map(|note| EventRecord {
            key: note.key,
            version: Version(0),
            what: note.what.into(),
            cause: note.cause,
        }));
        Ok(Self {
            at: batch.at,
            pool: batch.pool,
            term: batch.term,
            limit: batch.limit,
            rows,
            events,
        })
    }
}

impl RowRecord {
    fn new(row: &Row) -> Result<Self, serde_json::Error> {
        let nothing: Arc<[u8]> = Arc::from([]);
        let (pool, is_over, json, sealed) = match row {
            Row::Order(row) => {
                let open = OrderRow {
                    sealed: nothing,
                    ..(**row).clone()
                };
                let json = serde_json::to_string(&open)?;
                (
                    row.pool.clone(),
                    row.state.is_settled(),
                    json,
                    row.sealed.clone(),
                )
            }
            Row::Machine(row) => (
                row.machine.pool.clone(),
                !row.state.occupies_slot(),
                serde_json::to_string(row)?,
                nothing,
            ),
            Row::Stage(row) => (
                row.pool.clone(),
                row.state.is_ended(),
                serde_json::to_string(row)?,
                nothing,
            ),
            Row::Step(row) => (
                PoolName::new(""),
                row.outcome.is_some(),
                serde_json::to_string(row)?,
                nothing,
            ),
        };
        Ok(Self {
            key: row.key(),
            pool,
            version: row.version(),
            slots: row.slots(),
            is_over,
            json,
            sealed,
        })
    }
}

impl EventRecord {
    /// The cause as a database takes it that has no NUL in its texts: a
    /// console's last lines may hold one.
    pub(crate) fn storable_cause(&self) -> Cow<'_, str> {
        if self.cause.contains('\0') {
            self.cause.replace('\0', "\u{fffd}").into()
        } else {
            Cow::Borrowed(&self.cause)
        }
    }
}

/// A cordon as its column has it.
pub(crate) fn cordon(cordon: Option<&Cordon>) -> Option<String> {
    let json = cordon.map(serde_json::to_string).transpose();
    json.expect("texts and numbers are JSON")
}

/// A row's name as the columns of an event have it: kind, id, step.
pub(crate) fn columns(key: &RowKey) -> (&'static str, &str, Option<&str>) {
    match key {
        RowKey::Order(id) => ("order", id.as_str(), None),
        RowKey::Machine(id) => ("machine", id.as_str(), None),
        RowKey::Stage(id) => ("stage", id.as_str(), None),
        RowKey::Step(stage, id) => ("step", stage.as_str(), Some(id.as_str())),
    }
}

/// The columns of an event as they were read.
#[derive(Debug)]
pub(crate) struct EventColumns {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) step: Option<String>,
    pub(crate) version: i64,
    pub(crate) what: String,
    pub(crate) cause: String,
}

/// An event of a kind that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("event {seq} is of the unknown kind {kind:?}")]
pub(crate) struct UnknownKind {
    seq: i64,
    kind: String,
}

impl TryFrom<EventColumns> for Event {
    type Error = UnknownKind;

    fn try_from(read: EventColumns) -> Result<Self, UnknownKind> {
        let key = match (read.kind.as_str(), read.step) {
            ("order", None) => RowKey::Order(OrderId::new(read.id)),
            ("machine", None) => RowKey::Machine(MachineId::new(read.id)),
            ("stage", None) => RowKey::Stage(StageId::new(read.id)),
            ("step", Some(step)) => RowKey::Step(StageId::new(read.id), StepId::new(step)),
            _ => {
                return Err(UnknownKind {
                    seq: read.seq,
                    kind: read.kind,
                });
            }
        };
        Ok(Self {
            seq: natural(read.seq),
            at: Timestamp(natural(read.at)),
            key,
            version: Version(natural(read.version)),
            what: read.what.into(),
            cause: read.cause.into(),
        })
    }
}

/// The moment `span` before `now`.
pub(crate) fn before(now: Timestamp, span: Duration) -> Timestamp {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_sub(span))
}

/// A number as databases have it. Beyond their range is the end of time.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that was never negative.
pub(crate) fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
