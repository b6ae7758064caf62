//! The ledger: each machine ever seen, with its end, from the journal (P1).
//!
//! A machine is *ended* when the provider said so, *alive* when its row says
//! otherwise, and *unaccounted* when nobody can say. What a journal calls alive
//! is no more than its claim: only a runner that rules the pool, and holds it
//! against the provider's listings, can say that a machine is not accounted
//! for. Its number must be zero.
//!
//! ```
//! # #[cfg(feature = "testkit")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vmpool_core::journal::MemoryJournal;
//! use vmpool_core::ledger::Ledger;
//!
//! let journal = MemoryJournal::new();
//! let mut ledger = Ledger::of(&journal);
//! while let Some(page) = ledger.next_page().await? {
//!     for machine in page {
//!         println!("{} {} {}", machine.id(), machine.state, machine.cause);
//!     }
//! }
//! assert_eq!(ledger.totals().alive, 0);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testkit"))]
//! # fn main() {}
//! ```

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::id::{MachineId, PoolName};
use crate::journal::{Journal, JournalError, MachineRow};
use crate::pool::PoolStatus;

/// Rows of one page.
const PAGE: usize = 500;

/// Reads the ledger page by page, and adds up.
pub struct Ledger<'a> {
    journal: &'a dyn Journal,
    pool: Option<PoolName>,
    after: Option<MachineId>,
    over: bool,
    totals: Totals,
}

/// What the ledger adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Machines ever seen.
    pub machines: u64,
    /// Those that are gone or lost.
    pub ended: u64,
    /// Those whose rows say that they are not.
    pub alive: u64,
    /// Those that runners can't account for. Zero, or something is wrong.
    pub unaccounted: u64,
}

impl<'a> Ledger<'a> {
    /// The ledger of every pool.
    pub fn of(journal: &'a dyn Journal) -> Self {
        Self {
            journal,
            pool: None,
            after: None,
            over: false,
            totals: Totals::default(),
        }
    }

    /// The ledger of one pool, where one is named.
    #[must_use]
    pub fn only(mut self, pool: Option<PoolName>) -> Self {
        self.pool = pool;
        self
    }

    /// Adds what runners can't account for, by the status of their pools.
    #[must_use]
    pub fn with_unaccounted(mut self, pools: &[PoolStatus]) -> Self {
        let wanted = pools
            .iter()
            .filter(|pool| self.pool.as_ref().is_none_or(|name| *name == pool.name));
        self.totals.unaccounted = wanted.map(|pool| u64::from(pool.unaccounted)).sum();
        self
    }

    /// The next machines by their ids; none when all were told. A page may be empty.
    ///
    /// # Errors
    /// The journal could not be read; the same page may be asked for again.
    ///
    /// # Cancel safety
    /// Safe: a dropped call reads the same page again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Arc<MachineRow>>>, JournalError> {
        if self.over {
            return Ok(None);
        }
        let mut page = self.journal.ledger(self.after.as_ref(), PAGE).await?;
        self.over = page.len() < PAGE;
        self.after = page.last().map(|row| row.id().clone());
        if let Some(pool) = &self.pool {
            page.retain(|row| row.machine.pool == *pool);
        }
        for row in &page {
            self.totals.machines += 1;
            if row.state.occupies_slot() {
                self.totals.alive += 1;
            } else {
                self.totals.ended += 1;
            }
        }
        Ok(Some(page))
    }

    /// What was told so far adds up to this.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

impl fmt::Debug for Ledger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("pool", &self.pool)
            .field("after", &self.after)
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}
