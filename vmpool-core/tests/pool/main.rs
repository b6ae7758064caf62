//! The pool over a provider in memory and simulated agents, on paused time.

mod cancellation;
mod ends;
mod faults;
mod faulty_journal;
mod hanging;
mod harness;
mod journal_faults;
mod journal_histories;
mod journal_slow;
mod notices;
mod property;
mod reconcile;
mod requests;
mod restart;
mod rule;
mod salvage;
mod three;
mod waits;
