//! A stage: init, execute, cleanup.
//!
//! ```text
//! claimed ─► prepared ─► ended
//!     └────────────────► ended (released, lost, over time)
//! ```
//!
//! [`next`] is the pure transition function that the journal replays.
//! [`Stage`] is the same order as types: what can't happen doesn't compile.

mod next;
mod phases;
#[cfg(test)]
mod tests;

pub use next::{Refused, StageEnd, StageEvent, StageState, StepHash, next};
pub use phases::{Claimed, Prepared, Stage, StageError};
