//! A batch: one transaction, and why one was not made.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::id::{PoolName, Term, Version};
use crate::journal::{Row, RowKey};

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
    /// The changes, one a row.
    pub changes: Vec<Change>,
    /// What else is told of it; changes no row.
    pub notes: Vec<Note>,
}

/// Batches of more changes are looked through by a set.
const FEW: usize = 16;

impl Batch {
    /// Sees that no row is changed twice: that is a conflict of the batch with
    /// itself. Every journal holds a batch against this before anything else.
    ///
    /// # Errors
    /// A row is changed again; `found` is the version that its first change makes.
    pub fn check(&self) -> Result<(), CommitError> {
        if self.changes.len() > FEW {
            let mut keys = HashSet::with_capacity(self.changes.len());
            if self
                .changes
                .iter()
                .all(|change| keys.insert(change.row.key()))
            {
                return Ok(());
            }
        }
        for (place, Change { row, .. }) in self.changes.iter().enumerate() {
            let mut before = self.changes[..place].iter();
            if let Some(first) = before.find(|before| before.row.is_same(row)) {
                return Err(CommitError::Conflict {
                    key: row.key(),
                    wanted: row.version(),
                    found: Some(first.row.version()),
                });
            }
        }
        Ok(())
    }
}

/// An event that changes no row: a request that waits, a call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about. There need be no such row (yet).
    pub key: RowKey,
    /// The event's name: `waits`, `refused`.
    pub what: &'static str,
    /// Why, for a person.
    pub cause: Cow<'static, str>,
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
