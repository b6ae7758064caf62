//! Why does my request wait? Why was this machine ended? What happened to a
//! stage, a machine, an order or a request, told from the journal.
//!
//! [`explain`] finds out what an id stands for, gathers what the journal has of
//! it and of what belongs to it, and has it told: the events in their order,
//! the phases with their durations, and one sentence that says how it stands,
//! and why. Gathering reads; telling is pure.
//!
//! A journal alone says what was written down. Who has running pools hands in
//! their [status](PoolStatus), so that a request that waits is told by what its
//! pool does at this moment.
//!
//! ```
//! # #[cfg(feature = "testkit")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use vmpool_core::explain::{Kind, explain};
//! use vmpool_core::journal::MemoryJournal;
//! use vmpool_core::pool::PoolParts;
//! use vmpool_core::testkit::{FakeProvider, SimLink};
//! use vmpool_core::{AcquireRequest, Clock, Pool as _, PoolConfig, WarmPool};
//!
//! let clock = Clock::system();
//! let journal = Arc::new(MemoryJournal::new());
//! let provider = FakeProvider::new(clock);
//! let parts = PoolParts::new(provider, SimLink::new(clock), journal.clone(), clock);
//! let pool = WarmPool::start(PoolConfig::new("linux", 1, 2), parts).await?;
//! let lease = pool.acquire(AcquireRequest::new("17")).await?;
//!
//! let story = explain(&*journal, "17", clock.now(), &[pool.status()]).await?;
//! assert_eq!(story.kind, Kind::Stage);
//! assert!(story.summary.contains(lease.machine_id().as_str()));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testkit"))]
//! # fn main() {}
//! ```

mod gather;
mod phases;
mod summary;
mod tell;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub(crate) use words::span;

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::IdError;
use crate::journal::{Journal, JournalError};
use crate::pool::PoolStatus;

/// Events of one thing that are told at most, the latest: a story is for a person.
const MOST_EVENTS: usize = 500;

/// What happened to something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// What was asked about.
    pub subject: String,
    /// What it is.
    pub kind: Kind,
    /// How it stands, and why, in one sentence without a full stop.
    pub summary: String,
    /// What happened to it and to what belongs to it, the oldest first.
    pub moments: Vec<Moment>,
    /// What its time went to, by their beginnings. They may overlap: steps run
    /// within the stage's running.
    pub phases: Vec<Phase>,
}

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A stage that has or had a machine.
    Stage,
    /// A machine.
    Machine,
    /// An order.
    Order,
    /// A request for a stage that has no machine: it waits, or got none.
    Request,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// To what: `machine i-0abc`, `stage 17`, `step build of stage 17`.
    pub of: String,
    /// What: `booting`, `claimed`, `ended`.
    pub what: String,
    /// Why.
    pub cause: String,
}

/// A part of its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// What went on: `waiting`, `booting`, `preparing`, `running`, `step build`, ….
    pub name: String,
    /// When it began.
    pub since: Timestamp,
    /// How long it took, or has taken so far.
    pub took: Duration,
    /// False: it goes on.
    pub over: bool,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// It can't be an id.
    #[error("explain {subject:?}")]
    BadId {
        /// What was asked about.
        subject: String,
        /// What is wrong with it.
        source: IdError,
    },
    /// Nothing is known of that id: it never was, or is forgotten.
    #[error("no stage, machine, order or request {subject} is known")]
    Unknown {
        /// What was asked about.
        subject: String,
    },
    /// The journal could not be read.
    #[error("explain {subject}")]
    Journal {
        /// What was asked about.
        subject: String,
        /// Why.
        source: JournalError,
    },
}

/// Tells what happened to a stage, a machine, an order or a request, by its id.
///
/// `live` are the pools that run at this moment, as far as the caller knows
/// them; without them the story is what the journal says.
///
/// # Errors
/// See [`ExplainError`].
///
/// # Cancel safety
/// Safe: it only reads.
pub async fn explain(
    journal: &dyn Journal,
    subject: &str,
    now: Timestamp,
    live: &[PoolStatus],
) -> Result<Story, ExplainError> {
    let findings = gather::gather(journal, subject, now, live).await?;
    Ok(tell::tell(subject, &findings))
}

impl Kind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Machine => "machine",
            Self::Order => "order",
            Self::Request => "request",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
