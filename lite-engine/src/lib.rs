//! The agent of vmpool.
pub mod enrol;
pub mod holder;
pub mod host;
pub mod identity;
pub mod listener;
pub mod log;
pub mod mask;
mod process;
