//! The pool over a provider in memory and simulated agents, on paused time.

mod cancellation;
mod ends;
mod faults;
mod harness;
mod property;
mod requests;
mod restart;
