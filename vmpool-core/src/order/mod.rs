//! An order's life: the durable intent to get machines.
//!
//! ```text
//! planned ─► launching ─► settled
//! ```
//!
//! An order has open slots until each is bound to a machine or proven absent.
//! It is settled when no slot is open; only then may another attempt begin.
//! Open slots count against the pool's limit (P7).

mod next;
#[cfg(test)]
mod tests;

pub use next::{OrderEvent, OrderState, Phase, Refused, next};
