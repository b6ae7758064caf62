//! The agent's rules: every (state, input) pair, random histories with crashes,
//! and the histories that matter one by one.

mod driver;
mod histories;
mod properties;
mod table;
