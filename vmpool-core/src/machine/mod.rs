//! A machine's life.
//!
//! ```text
//! booting ─► ready ─┬─► claimed ─► draining ─► terminating ─► gone
//!                   ├─► suspending ─► suspended ─► resuming ─► ready
//!                   └─► draining (idle, sick, old spec, old age)
//! claimed ─► held ─► draining: a person keeps it after its stage's end
//! any ─► lost: gone without our asking
//! gone, lost ─► terminating: the provider shows it all the same
//! booting ─► claimed: its agent has a stage that a lost journal gave it
//! ```
//!
//! [`next`] is the whole of it: pure, exhaustive, and what a journal replays.
//! Claim, drain and suspend start from one state and are a compare-and-swap on
//! one row, so a machine is never two of them.

mod hold;
mod next;
#[cfg(test)]
mod tests;

pub use hold::Hold;
pub use next::{Effect, MachineEvent, MachineState, Refused, next};
