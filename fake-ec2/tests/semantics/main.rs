//! What the cloud does, call by call, without HTTP and without waiting.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod fleets;
mod launches;
mod leftovers;
mod listings;
mod lives;
mod refusals;
mod shortage;
mod sky;
mod throttling;
mod tokens;
