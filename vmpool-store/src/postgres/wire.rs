//! Batches as the database's function takes them, and its answers.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmpool_core::journal::CommitError;
use vmpool_core::{Term, Version};

use crate::record::{BatchRecord, EventRecord, RowRecord, columns, integer, natural};

pub(super) const SQL: &str = "SELECT write_batches($1::text::jsonb, $2)::text";

/// What the function is called with.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) batches: String,
    /// Of orders, which name them by their place, from 1.
    pub(super) sealed: Vec<Arc<[u8]>>,
}

#[derive(Serialize)]
struct WireBatch<'a> {
    at: i64,
    pool: String,
    term: i64,
    limit: Option<u32>,
    rows: Vec<WireRow<'a>>,
    events: Vec<WireEvent<'a>>,
}

#[derive(Serialize)]
struct WireRow<'a> {
    kind: &'static str,
    id: &'a str,
    step: Option<&'a str>,
    pool: &'a str,
    version: i64,
    slots: u32,
    is_over: bool,
    row: &'a str,
    sealed: Option<usize>,
}

#[derive(Serialize)]
struct WireEvent<'a> {
    kind: &'static str,
    id: &'a str,
    step: Option<&'a str>,
    version: i64,
    what: &'a str,
    cause: Cow<'a, str>,
}

impl Call {
    pub(super) fn new<'a>(
        batches: impl IntoIterator<Item = &'a BatchRecord>,
    ) -> Result<Self, serde_json::Error> {
        let mut sealed = Vec::new();
        let wire = batches.into_iter().map(|batch| WireBatch {
            at: integer(batch.at.0),
            pool: batch.pool.to_string(),
            term: integer(batch.term.0),
            limit: batch.limit,
            rows: batch
                .rows
                .iter()
                .map(|row| WireRow::new(row, &mut sealed))
                .collect(),
            events: batch.events.iter().map(WireEvent::new).collect(),
        });
        let wire: Vec<_> = wire.collect();
        Ok(Self {
            batches: serde_json::to_string(&wire)?,
            sealed,
        })
    }
}

impl<'a> WireRow<'a> {
    fn new(row: &'a RowRecord, all_sealed: &mut Vec<Arc<[u8]>>) -> Self {
        let (kind, id, step) = columns(&row.key);
        let sealed = (kind == "order").then(|| {
            all_sealed.push(row.sealed.clone());
            all_sealed.len()
        });
        Self {
            kind,
            id,
            step,
            pool: row.pool.as_str(),
            version: integer(row.version.0),
            slots: row.slots,
            is_over: row.is_over,
            row: &row.json,
            sealed,
        }
    }
}

impl<'a> WireEvent<'a> {
    fn new(event: &'a EventRecord) -> Self {
        let (kind, id, step) = columns(&event.key);
        Self {
            kind,
            id,
            step,
            version: integer(event.version.0),
            what: &event.what,
            cause: event.storable_cause(),
        }
    }
}

/// The answer to one batch, where it was not written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    /// Under which term the pool is ruled.
    Fenced(i64),
    /// The place of the row among the batch's, and the version it has.
    Conflict { place: usize, found: Option<i64> },
    /// The slots that the pool would occupy.
    Limit(i64),
}

/// The answers to the batches of a call, in their order.
pub(super) fn answers(text: &str) -> Result<Vec<Option<Refusal>>, serde_json::Error> {
    serde_json::from_str(text)
}

impl Refusal {
    /// As the trait tells it; None: it makes no sense for this batch.
    pub(super) fn of(self, batch: &BatchRecord) -> Option<CommitError> {
        Some(match self {
            Self::Fenced(theirs) => CommitError::Fenced {
                pool: batch.pool.clone(),
                ours: batch.term,
                theirs: Term(natural(theirs)),
            },
            Self::Conflict { place, found } => {
                let row = batch.rows.get(place)?;
                CommitError::Conflict {
                    key: row.key.clone(),
                    wanted: row.version,
                    found: found.map(|version| Version(natural(version))),
                }
            }
            Self::Limit(wanted) => CommitError::Limit {
                pool: batch.pool.clone(),
                limit: batch.limit?,
                wanted: u32::try_from(wanted).unwrap_or(u32::MAX),
            },
        })
    }
}
