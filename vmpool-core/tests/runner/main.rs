//! The runner over a provider in memory and simulated agents, on paused time.

mod conformance;
mod cordon;
mod ends;
mod gate;
mod harness;
mod hold;
mod in_doubt;
mod journal_away;
mod life;
mod many;
mod next_machine;
mod ownership;
mod reload;
mod restart;
mod stuck;
