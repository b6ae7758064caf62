//! The reconciler: the journal held against what the provider has (P1).
//!
//! Pure: [`plan`] is given what the journal knows, one listing, and what
//! earlier listings proved absent, and says what must be done about each
//! machine, with a cause for people. Each [`Action`] is about one machine or
//! order, so that what goes wrong with one leaves the others alone. The pool
//! carries them out.
//!
//! - The word `terminated` counts at once. Absence counts only from complete
//!   listings begun after the last call that concerned the thing plus the
//!   provider's consistency window, twice; a machine whose agent answers is
//!   never absent.
//! - A machine that the journal does not know is adopted, never ended, unless
//!   it has expired.
//! - What ends machines is bounded by [`ReconcileConfig::most_terminations`]:
//!   a listing or a journal that is wrong must not end them all.

mod absence;
mod known;
mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use absence::Absences;
pub use known::{Known, Past};
pub(crate) use plan::ADOPTED;
pub use plan::{Action, Input, Plan, Unaccounted, plan};

/// How a pool is held against its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconcileConfig {
    /// A pass is made this often, and whenever something asks for one.
    pub every: Duration,
    /// Machines that may be ended within one such span for what a listing
    /// shows or does not show. Beyond it nothing more is ended, with an alarm.
    pub most_terminations: u32,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            every: Duration::from_mins(1),
            most_terminations: 10,
        }
    }
}
