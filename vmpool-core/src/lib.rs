//! Warm pools of single-use machines for CI.
//!
//! A CI stage gets a fresh machine at once, runs its steps there, and the
//! machine is gone afterwards. This crate has the traits ([`Provider`],
//! [`Pool`], [`StepExecutor`], [`AgentLink`], [`Journal`]), the state machines
//! of [orders](order), [machines](machine), [stages](stage) and
//! [agents](agent), and the pool itself ([`WarmPool`]). It knows no cloud, no
//! database and no wire format.
//!
//! # A build
//!
//! ```
//! use std::sync::Arc;
//! use vmpool_core::pool::PoolParts;
//! use vmpool_core::{
//!     AcquireRequest, LogSink, PoolConfig, Stage, StageSetup, Step, StepExecutor, WarmPool,
//! };
//!
//! # async fn build(
//! #     parts: PoolParts,
//! #     executor: Arc<dyn StepExecutor>,
//! #     log: &mut dyn LogSink,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! // Two machines are kept ready; there are never more than ten.
//! let pool = WarmPool::start(PoolConfig::new("linux", 2, 10), parts).await?;
//!
//! let lease = pool.acquire(AcquireRequest::new("build-1")).await?;
//! let stage = Stage::new(lease, Arc::new(pool.clone()), executor);
//! let stage = stage.init(&StageSetup::default()).await?;
//! let outcome = stage.execute(&Step::shell("greet", "echo hello"), log).await?;
//! println!("{:?}", outcome.status);
//! stage.cleanup().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it is put together from
//!
//! | [`PoolParts`](pool::PoolParts) and others | what there is |
//! |---|---|
//! | [`Provider`]: where machines come from | `vmpool-local` (processes of this host), `vmpool-aws` (EC2), or one of your own |
//! | [`AgentLink`] and [`StepExecutor`]: the line to the machines, and steps over it | `vmpool-agent` |
//! | [`Journal`]: what must not be forgotten | [`MemoryJournal`](journal::MemoryJournal), and `vmpool-store` for SQLite and PostgreSQL |
//! | [`LogSink`]: who takes what a step prints | yours |
//!
//! Who serves builds to others, over restarts and from several processes, takes
//! a [`Runner`](runner::Runner) instead of pools of its own. Whoever tests against a pool
//! takes the feature `testkit`: a provider with planned faults, simulated agents
//! and assertions. The repository's `examples/` has whole programs, of which
//! `embed.rs` is this build on this host. P1 to P13, wherever they are named, are
//! the promises of its `docs/design/DESIGN.md`, §5.

pub mod account;
pub mod agent;
pub mod clock;
mod executor;
pub mod explain;
mod facts;
mod id;
pub mod journal;
pub mod ledger;
mod link;
pub mod machine;
mod map;
pub mod measures;
mod notice;
pub mod order;
pub mod pool;
mod provider;
pub mod reconcile;
pub mod runner;
mod secret;
pub mod stage;
mod step;
pub mod sweep;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

/// The target of the spans that a build's trace is made of: setup, claim, queue,
/// commit, prepare, follow. A program that makes traces records these, and
/// keeps them out of its log. Where nobody records them they cost nothing.
pub const TRACED: &str = "vmpool_build";

pub use clock::{Clock, Timestamp};
pub use executor::{ExecutorError, Guarantees, LogSink, LogSinkError, LogStore, StepExecutor};
pub use facts::Facts;
pub use id::{
    Attempt, DeploymentId, IdError, MAX_ID_LEN, MachineId, OrderId, Owner, PoolName, RunnerId,
    StageId, StepId, Term, Version,
};
pub use journal::Journal;
pub use link::{
    AgentLink, AgentReport, BootPhase, Health, KeyHash, LinkError, Machine, PinError, PinKey,
    StepReport,
};
pub use notice::{Notice, NoticeKind};
pub use pool::{AcquireRequest, Lease, Pool, PoolConfig, WarmPool};
pub use provider::{
    Capabilities, ErrorKind, LaunchOrder, LaunchOutcome, Launched, Listed, ListedState, Listing,
    Market, OrderDraft, Place, Provider, ProviderError, Tags, Terminating,
};
pub use secret::{Secret, SecretBytes};
pub use stage::Stage;
pub use step::{
    Limits, Returned, Returns, StageFile, StageSetup, Step, StepOutcome, StepStatus, Variable,
};
