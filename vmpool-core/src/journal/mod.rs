//! The journal: the durable record of orders, machines, stages and steps.
//!
//! Current rows with a version, and append-only events that say why each
//! changed. A [`Batch`] is one transaction: all of its changes are made, each
//! a compare-and-swap on its row's version, or none. That is all a database
//! must be able to do.
//!
//! The journal never holds what is in a setup or a step, only ids and keyed
//! hashes (P5), and an order's request only sealed (P11).

mod batch;
mod cordon;
mod event;
mod memory;
mod ownership;
mod row;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use batch::{Batch, Change, CommitError, Note};
pub use cordon::Cordon;
pub use event::{Compacted, Event, Retention};
pub use memory::MemoryJournal;
pub use ownership::{Holder, Ownership, Taken};
pub use row::{MachineRow, OrderRow, Row, RowKey, StageRow, StepRow};

use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, PoolName, StageId, Term};

/// Keeps rows and events. Implemented in memory here, on SQLite and PostgreSQL elsewhere.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Raises the pool's term to `max(last + 1, now in Unix ms)`, durably.
    /// Writers of lower terms are refused from then on.
    ///
    /// # Errors
    /// It could not be written.
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError>;

    /// Takes a pool for `holder`, if it is free: never owned, its lease over by
    /// the journal's clock (`now`, where it has none of its own), or held by
    /// the same runner. In one transaction with that, the term is raised as by
    /// [`Journal::raise_term`].
    ///
    /// # Errors
    /// It could not be written.
    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError>;

    /// Makes the lease of a pool last for `lease` from now. False: another term
    /// rules it by now, and nothing was changed. A lease that ran out, but that
    /// nobody took, is renewed.
    ///
    /// # Errors
    /// It could not be written.
    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError>;

    /// Ends the lease at once, so that any runner may take the pool. Nothing
    /// happens where another term rules it.
    ///
    /// # Errors
    /// It could not be written.
    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError>;

    /// Writes down that the pool takes no new stages, or, with `None`, that it
    /// does again, in the place of what was said before. False: another term
    /// rules it by now, and nothing was changed.
    ///
    /// # Errors
    /// It could not be written, or it is not known whether it was: call again.
    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError>;

    /// Every pool that ever had a term, with its owner; those without an owner
    /// have a holder of no name.
    ///
    /// # Errors
    /// It could not be read.
    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError>;

    /// Makes all changes of `batch` durable, or none. First [`Batch::check`]
    /// must agree. Versions are held against each other before the limit is: a batch that is committed already is a
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

    /// As [`Journal::commit`], by a journal that has nothing to wait for: the
    /// answer at once, without a future. Any other gives the batch back, which
    /// is then to be committed the other way.
    ///
    /// # Errors
    /// The batch, untouched.
    fn commit_now(&self, batch: Batch) -> Result<Result<(), CommitError>, Batch> {
        Err(batch)
    }

    /// What a pool goes on with after a restart: orders that are not settled,
    /// machines that are not gone or lost, stages that have not ended or that
    /// have a step which has not, and its cordon.
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

    /// Machines that ever were, by their ids, after `after`, at most `limit`:
    /// the ledger. Rows of machines are never forgotten, except by a journal in memory.
    ///
    /// # Errors
    /// They could not be read.
    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError>;

    /// The events of one thing, the oldest first, at most `limit` of the latest.
    /// A stage's include those of its steps.
    ///
    /// # Errors
    /// They could not be read.
    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError>;

    /// An order's row, also after it was settled.
    ///
    /// # Errors
    /// It could not be read.
    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError>;

    /// Forgets what is older than `keep` says. Called now and then; what is
    /// not over is never forgotten.
    ///
    /// # Errors
    /// It could not be written; call again later.
    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError>;

    /// The oldest events after `after`, at most `limit`. Old ones may be compacted away.
    ///
    /// # Errors
    /// They could not be read.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError>;
}

/// The rows of a pool that are not over.
#[derive(Debug, Clone, Default)]
pub struct PoolRows {
    /// Orders that are not settled.
    pub orders: Vec<Arc<OrderRow>>,
    /// Machines that occupy a slot.
    pub machines: Vec<Arc<MachineRow>>,
    /// Stages that have not ended, and those that have before the end of one of
    /// their steps was written down.
    pub stages: Vec<StageRecord>,
    /// Why it takes no new stages, where a person has said so.
    pub cordon: Option<Cordon>,
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
