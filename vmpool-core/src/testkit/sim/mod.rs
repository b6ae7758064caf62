//! The whole runner in simulation: pools, journal, stages, agents, on paused
//! time, driven by one seed.
//!
//! A history is a [`Plan`] played to its end: runners over a world that
//! outlives them. What is real: the [`Runner`](crate::runner::Runner) with all
//! that is below it, and the agents' [rules](crate::agent::Rules). What is
//! simulated:
//!
//! ```text
//!  clients ──► runner-0.1 ✝ runner-0.2 …    each life's calls are counted: it dies
//!                 │                         at any of them, or is stopped for a while
//!    ┌────────────┼──────────┬────────────┐
//!  journal      cloud      agents        logs
//!  loses what   late, lost  dead, slow,   lose what was
//!  is not yet   and partial hanging,      not synced
//!  durable      answers     restarted
//! ```
//!
//! Afterwards everything is let settle, and is held against the promises: no
//! machine is left (P1), none served two stages (P2), every request ended (P3),
//! every build went on over its runner's end, with its log exact and no step
//! run twice (P4), what was answered is durable (P5), no dead machine was
//! handed out (P6), the limit held at every moment (P7), the provider was not
//! called too often (P8), and every call could be made again (P9).
//!
//! The same plan plays the same, byte for byte: [`Told::hash`] is equal.
//!
//! ```
//! # use vmpool_core::testkit::sim::{Plan, play};
//! let report = play(&Plan::from_seed(17), false);
//! assert!(report.is_good(), "{:#?}", report.told);
//! ```

mod agents;
mod asking;
mod check;
mod client;
mod cloud;
mod dice;
mod fleet;
mod history;
mod instance;
mod journal;
mod life;
mod logs;
mod plan;
mod provider;
mod settle;
mod trace;
mod weather;
mod world;

pub use history::{Report, play};
pub use life::{Mishap, Side};
pub use plan::{BuildPlan, Happening, Manners, Plan, PoolPlan, StepEndPlan, StepPlan};
pub use trace::Told;
