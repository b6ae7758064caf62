//! A stage: init, execute, cleanup.
//!
//! ```text
//! claimed ─► prepared ─► ended (released, lost, over time)
//!  ▲   ├─────────────────► ▲
//!  │   ▼                   │
//! waiting ─────────────────┘
//! ```
//!
//! A stage waits again whose machine could not be prepared: it has given that
//! up and gets another, up to [`MOST_MACHINES`].
//!
//! [`next`] is the pure transition function that the journal replays.
//! [`Stage`] is the same order as types: what can't happen doesn't compile.

mod next;
mod phases;
#[cfg(test)]
mod tests;
mod tried;

pub use next::{Refused, StageEnd, StageEvent, StageState, StepHash, next};
pub use phases::{Claimed, Prepared, Stage, StageError};
pub use tried::{MOST_MACHINES, Tried, told};
