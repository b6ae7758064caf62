//! What tests of pools need, ours and an embedder's: a provider in memory with
//! a plan of faults, simulated agents, and assertions.
//!
//! Everything runs on tokio's time, so a test that pauses it is fast and
//! repeatable.

mod assertions;
pub mod builds;
pub mod conformance;
mod fake_provider;
mod faults;
mod logs;
pub mod sim;
mod sim_agent;
mod stock;

pub use assertions::{Collected, assert_accounted, eventually};
pub use fake_provider::FakeProvider;
pub use faults::{Call, Fault, FaultPlan};
pub use logs::MemoryLogs;
pub use sim_agent::*;
