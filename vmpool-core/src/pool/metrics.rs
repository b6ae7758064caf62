//! What a pool measures, by the `metrics` facade: the program that embeds it
//! chooses the recorder, and installs it before the pool starts.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `vmpool_acquire_seconds` | histogram | `pool` |
//! | `vmpool_acquire_refused_total` | counter | `pool` |
//! | `vmpool_slots` | gauge | `pool` |
//! | `vmpool_breaker_open` | gauge | `pool` |
//! | `vmpool_troubles_total` | counter | `pool` |
//! | `vmpool_unaccounted_machines` | gauge | `pool` |
//! | `vmpool_reconcile_seconds` | histogram | `pool` |
//! | `vmpool_reconcile_held_back_total` | counter | `pool` |

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::id::PoolName;

/// Handles, so that no name is looked up on the claim path.
pub(super) struct Metrics {
    acquired: Histogram,
    refused: Counter,
    slots: Gauge,
    troubles: Counter,
    breaker: Gauge,
    unaccounted: Gauge,
    passes: Histogram,
    held_back: Counter,
}

impl Metrics {
    pub(super) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        Self {
            acquired: metrics::histogram!("vmpool_acquire_seconds", "pool" => pool.clone()),
            refused: metrics::counter!("vmpool_acquire_refused_total", "pool" => pool.clone()),
            slots: metrics::gauge!("vmpool_slots", "pool" => pool.clone()),
            troubles: metrics::counter!("vmpool_troubles_total", "pool" => pool.clone()),
            breaker: metrics::gauge!("vmpool_breaker_open", "pool" => pool.clone()),
            unaccounted: metrics::gauge!("vmpool_unaccounted_machines", "pool" => pool.clone()),
            passes: metrics::histogram!("vmpool_reconcile_seconds", "pool" => pool.clone()),
            held_back: metrics::counter!("vmpool_reconcile_held_back_total", "pool" => pool),
        }
    }

    /// A request got its machine after waiting so long for one to be ready.
    pub(super) fn acquired(&self, waited: Duration) {
        self.acquired.record(waited.as_secs_f64());
    }

    /// A request ended without a machine.
    pub(super) fn refused(&self) {
        self.refused.increment(1);
    }

    /// So many slots of the limit are in use.
    pub(super) fn slots(&self, slots: u32) {
        self.slots.set(f64::from(slots));
    }

    /// The breaker of [`crate::account`] opened, or closed.
    pub(super) fn breaker(&self, open: bool) {
        self.breaker.set(f64::from(u8::from(open)));
    }

    /// Something went wrong.
    pub(super) fn trouble(&self) {
        self.troubles.increment(1);
    }

    /// A pass over a listing took so long, and left so many machines unaccounted for.
    pub(super) fn reconciled(&self, unaccounted: usize, took: Duration) {
        let unaccounted = u32::try_from(unaccounted).unwrap_or(u32::MAX);
        self.unaccounted.set(f64::from(unaccounted));
        self.passes.record(took.as_secs_f64());
    }

    /// So many machines were not ended, for the bound of one pass.
    pub(super) fn held_back(&self, machines: u32) {
        self.held_back.increment(u64::from(machines));
    }
}
