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
//! use std::sync::Arc;
//! use vmpool_core::journal::MemoryJournal;
//! use vmpool_core::ledger::Ledger;
//!
//! let journal = Arc::new(MemoryJournal::new());
//! let mut ledger = Ledger::of(journal);
//! while let Some(page) = ledger.next_page().await? {
//!     for entry in page {
//!         println!("{} of pool {}", entry.machine, entry.pool);
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

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::id::{MachineId, PoolName};
use crate::journal::{Journal, JournalError, MachineRow};
use crate::pool::PoolStatus;

/// Rows of one page.
const PAGE: usize = 500;

/// Reads the ledger page by page, and adds up.
pub struct Ledger {
    journal: Arc<dyn Journal>,
    pool: Option<PoolName>,
    after: Option<MachineId>,
    /// All rows were told.
    read: bool,
    over: bool,
    /// What runners can't account for and was not told yet.
    unaccounted: BTreeMap<MachineId, (PoolName, Cow<'static, str>)>,
    totals: Totals,
}

/// A machine that was ever seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The machine.
    pub machine: MachineId,
    /// Its pool.
    pub pool: PoolName,
    /// Its row. None: the provider shows it, and the journal has no row of it.
    pub row: Option<Arc<MachineRow>>,
    /// Why it is not accounted for, if it is not.
    pub unaccounted: Option<Cow<'static, str>>,
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

impl Ledger {
    /// The ledger of every pool.
    pub fn of(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            pool: None,
            after: None,
            read: false,
            over: false,
            unaccounted: BTreeMap::new(),
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
        let of = |pool: &PoolStatus| {
            let name = pool.name.clone();
            let unaccounted = pool.unaccounted.clone().into_iter();
            unaccounted.map(move |one| (one.machine, (name.clone(), one.why)))
        };
        self.unaccounted.extend(pools.iter().flat_map(of));
        self
    }

    /// The next machines by their ids, at last those without a row; none when
    /// all were told. A page may be empty.
    ///
    /// # Errors
    /// The journal could not be read; the same page may be asked for again.
    ///
    /// # Cancel safety
    /// Safe: a dropped call reads the same page again.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, JournalError> {
        if self.over {
            return Ok(None);
        }
        let mut page: Vec<Entry> = if self.read {
            self.over = true;
            let left = std::mem::take(&mut self.unaccounted).into_iter();
            left.map(|(machine, (pool, why))| Entry {
                machine,
                pool,
                row: None,
                unaccounted: Some(why),
            })
            .collect()
        } else {
            let rows = self.journal.ledger(self.after.as_ref(), PAGE).await?;
            self.read = rows.len() < PAGE;
            self.after = rows.last().map(|row| row.id().clone());
            let unaccounted = &mut self.unaccounted;
            let entry = |row: Arc<MachineRow>| Entry {
                machine: row.id().clone(),
                pool: row.machine.pool.clone(),
                unaccounted: unaccounted.remove(row.id()).map(|(_, why)| why),
                row: Some(row),
            };
            rows.into_iter().map(entry).collect()
        };
        if let Some(pool) = &self.pool {
            page.retain(|entry| entry.pool == *pool);
        }
        for entry in &page {
            self.totals.add(entry);
        }
        Ok(Some(page))
    }

    /// What was told so far adds up to this.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

impl Totals {
    fn add(&mut self, entry: &Entry) {
        self.machines += 1;
        self.unaccounted += u64::from(entry.unaccounted.is_some());
        if let Some(row) = &entry.row {
            if row.state.occupies_slot() {
                self.alive += 1;
            } else {
                self.ended += 1;
            }
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("pool", &self.pool)
            .field("after", &self.after)
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}
