//! Events: what happened to what, and why. Append-only; old ones are compacted.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::Version;
use crate::journal::RowKey;

/// What happened to a row, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of all events, from 1; never used twice.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The row.
    pub key: RowKey,
    /// The version that the row got; 0: a [`Note`](super::Note), which changed none.
    pub version: Version,
    /// The event's name.
    pub what: Cow<'static, str>,
    /// Why.
    pub cause: Cow<'static, str>,
}

/// What is kept of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events younger than this are kept.
    pub events_for: Duration,
    /// But no more events than this, the youngest.
    pub events_most: u64,
    /// Rows of settled orders and ended stages, with their steps, are kept
    /// this long after their last change, for retries and `explain`. Rows of
    /// machines are kept for ever: they are the ledger.
    pub ended_for: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            events_for: Duration::from_hours(14 * 24),
            events_most: 1_000_000,
            ended_for: Duration::from_hours(14 * 24),
        }
    }
}

/// What a compaction removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Events.
    pub events: u64,
    /// Rows of orders, stages and steps that are over.
    pub rows: u64,
}
