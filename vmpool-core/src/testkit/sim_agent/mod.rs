//! Machines' agents without machines: the real rules ([`Rules`]) over a disk,
//! processes and a network in memory.
//!
//! [`SimAgent`] is one agent, driven by hand: for simulations. [`SimLink`] keeps
//! one a machine, made at its first opening, and is the pool's [`AgentLink`];
//! [`SimExecutor`] runs steps there, as its script says. Both live on tokio's
//! time; an agent's time passes when somebody looks at it.
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use vmpool_core::{AcquireRequest, Clock, Pool, PoolConfig, Stage, StageSetup, Step, WarmPool};
//! # use vmpool_core::journal::MemoryJournal;
//! # use vmpool_core::pool::PoolParts;
//! # use vmpool_core::testkit::{Collected, FakeProvider, SimExecutor, SimLink, SimStep};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Clock::system();
//! let link = SimLink::new(clock);
//! link.script(|step| match step.id.as_str() {
//!     "build" => SimStep::exits(0).prints("built\n").takes(Duration::from_mins(1)),
//!     _ => SimStep::exits(1),
//! });
//! let executor = SimExecutor::new(&link);
//! let provider = FakeProvider::new(clock);
//! let journal = Arc::new(MemoryJournal::new());
//! let parts = PoolParts { provider, link, journal, clock };
//! let pool = Arc::new(WarmPool::start(PoolConfig::new("linux", 1, 2), parts).await?);
//!
//! let lease = pool.acquire(AcquireRequest::new("stage-1")).await?;
//! let stage = Stage::new(lease, pool.clone(), executor);
//! let stage = stage.init(&StageSetup::default()).await?;
//! let mut log = Collected::default();
//! let outcome = stage.execute(&Step::shell("build", "make"), &mut log).await?;
//! assert!(outcome.status.is_success());
//! assert_eq!(log.text(), "built\n");
//! stage.cleanup().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`AgentLink`]: crate::AgentLink
//! [`Rules`]: crate::agent::Rules

mod agent;
mod executor;
mod link;
mod step;
#[cfg(test)]
mod tests;

pub use agent::SimAgent;
pub use executor::SimExecutor;
pub use link::SimLink;
pub use step::SimStep;
