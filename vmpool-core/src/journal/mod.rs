//! The journal: the durable record of orders, machines, stages and steps.
//!
//! Current rows with a version, and append-only events that say why each
//! changed. A [`Batch`] is one transaction: all of its changes are made, each
//! a compare-and-swap on its row's version, or none. That is all a database
//! must be able to do.
//!
//! The journal never holds what is in a setup or a step, only ids and keyed
//! hashes (P5), and an order's request only sealed (P11).

mod memory;
mod row;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;

pub use memory::MemoryJournal;
pub use row::{MachineRow, OrderRow, Row, RowKey, StageRow, StepRow};

use crate::clock::Timestamp;
use crate::id::{MachineId, PoolName, StageId, Term, Version};

/// Keeps rows and events. Implemented in memory here, on SQLite and PostgreSQL elsewhere.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Raises the pool's term to `max(last + 1, now in Unix ms)`, durably.
    /// Writers of lower terms are refused from then on.
    ///
    /// # Errors
    /// It could not be written.
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError>;

    /// Makes all changes of `batch` durable, or none. Versions are held against
    /// each other before the limit is: a batch that is committed already is a
    /// conflict. It must end in bounded time, at worst as
    /// [`CommitError::Ambiguous`]: requests wait for it (P3).
    ///
    /// # Errors
    /// See [`CommitError`]; after [`CommitError::Ambiguous`] the rows must be
    /// read back before anything happens to what they stand for.
    ///
    /// # Cancel safety
    /// Once polled, the batch may be committed though the future is dropped.
    async fn commit(&self, batch: Batch) -> Result<(), CommitError>;

    /// What a pool goes on with after a restart: orders that are not settled,
    /// machines that are not gone or lost, and their stages and steps.
    ///
    /// # Errors
    /// It could not be read.
    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError>;

    /// A machine's row.
    ///
    /// # Errors
    /// It could not be read.
    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError>;

    /// A stage with its steps, also after its end.
    ///
    /// # Errors
    /// It could not be read.
    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError>;

    /// The oldest events after `after`, at most `limit`. Old ones may be compacted away.
    ///
    /// # Errors
    /// They could not be read.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError>;
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct Batch {
    /// When, for the events.
    pub at: Timestamp,
    /// The pool and the term of the runner that writes; refused if a higher one rules.
    pub pool: PoolName,
    /// See `pool`.
    pub term: Term,
    /// The slots that the pool may occupy after this batch (P7), where the
    /// batch takes any.
    pub limit: Option<u32>,
    /// The changes.
    pub changes: Vec<Change>,
}

/// One row's change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The row as it shall be; its version is the one it gets.
    pub row: Row,
    /// The event's name: `claimed`, `order launching`.
    pub what: &'static str,
    /// Why it changes, for a person.
    pub cause: Cow<'static, str>,
}

impl Change {
    /// A change of `row`.
    pub fn new(
        row: impl Into<Row>,
        what: &'static str,
        cause: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            row: row.into(),
            what,
            cause: cause.into(),
        }
    }
}

/// What happened to a row, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of all events, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The row.
    pub key: RowKey,
    /// The version that the row got.
    pub version: Version,
    /// The event's name.
    pub what: &'static str,
    /// Why.
    pub cause: Cow<'static, str>,
}

/// The rows of a pool that are not over.
#[derive(Debug, Clone, Default)]
pub struct PoolRows {
    /// Orders that are not settled.
    pub orders: Vec<Arc<OrderRow>>,
    /// Machines that occupy a slot.
    pub machines: Vec<Arc<MachineRow>>,
    /// Stages that are not ended.
    pub stages: Vec<StageRecord>,
}

/// A stage and its steps.
#[derive(Debug, Clone)]
pub struct StageRecord {
    /// The stage.
    pub stage: Arc<StageRow>,
    /// Its steps.
    pub steps: Vec<Arc<StepRow>>,
}

/// Why a journal could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{attempted}: {reason}")]
pub struct JournalError {
    /// What was attempted.
    pub attempted: String,
    /// What the store said.
    pub reason: String,
}

/// Why a batch was not committed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A row is not at the version that the change goes out from.
    #[error("{key} is at version {found:?}, the change makes version {wanted}")]
    Conflict {
        /// The row.
        key: RowKey,
        /// The version that the change would make.
        wanted: Version,
        /// The version that the row has; none: there is no such row.
        found: Option<Version>,
    },
    /// Another runner rules the pool.
    #[error("pool {pool} is ruled under term {theirs}, ours is {ours}")]
    Fenced {
        /// The pool.
        pool: PoolName,
        /// Our term.
        ours: Term,
        /// The one that rules.
        theirs: Term,
    },
    /// The pool would occupy more slots than it may (P7).
    #[error("pool {pool} may occupy {limit} slots and would occupy {wanted}")]
    Limit {
        /// The pool.
        pool: PoolName,
        /// Its limit.
        limit: u32,
        /// What it would be.
        wanted: u32,
    },
    /// Nothing was written.
    #[error("the journal takes no writes: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// It may have been written or not: read the rows back.
    #[error("whether it was written is not known: {reason}")]
    Ambiguous {
        /// Why.
        reason: String,
    },
}
