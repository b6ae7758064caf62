//! Machines of this host, with real processes.

mod ending;
mod harness;
mod launching;
mod listing;
mod order;
mod restarting;
mod secrecy;
