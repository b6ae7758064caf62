//! What a runner is built from, and what it is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::account::Account;
use crate::clock::Clock;
use crate::executor::{LogStore, StepExecutor};
use crate::id::{PoolName, StageId};
use crate::journal::{Holder, Journal};
use crate::link::AgentLink;
use crate::pool::PoolConfig;
use crate::provider::Provider;
use crate::step::StageSetup;

/// What a runner is built from.
#[derive(Clone)]
pub struct RunnerParts {
    /// What it remembers, and shares with the other runners of its deployment.
    pub journal: Arc<dyn Journal>,
    /// The line to the agents.
    pub link: Arc<dyn AgentLink>,
    /// Runs steps on them.
    pub executor: Arc<dyn StepExecutor>,
    /// Where the steps' logs go.
    pub logs: Arc<dyn LogStore>,
    /// The time.
    pub clock: Clock,
    /// This runner, as others reach it.
    pub holder: Holder,
    /// Whether others may own its pools.
    pub sharing: Sharing,
}

impl fmt::Debug for RunnerParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerParts")
            .field("holder", &self.holder)
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

/// Whether a runner has its journal for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// The only runner of its journal, which somebody else sees to (a lock, a
    /// journal in memory): it takes every pool at its start, whoever had it,
    /// and has it until it ends.
    Alone,
    /// One of several: it has a pool for as long as it renews its lease.
    Shared(LeaseTimes),
}

/// The times of a lease on a pool (DESIGN §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// It lasts so long by the journal's clock.
    pub lease: Duration,
    /// It is renewed so often; the pools of others are asked for so often too.
    pub renew_every: Duration,
    /// Without a renewal for so long by the runner's own monotonic clock,
    /// nothing is changed any more. Shorter than `lease`.
    pub stop_after: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            renew_every: Duration::from_secs(1),
            stop_after: Duration::from_secs(4),
        }
    }
}

/// A pool that a runner may own: its settings and where its machines come from.
#[derive(Clone)]
pub struct PoolSource {
    /// Its settings.
    pub config: PoolConfig,
    /// Where its machines come from.
    pub provider: Arc<dyn Provider>,
    /// The budget of calls to that provider's account.
    pub account: Account,
}

impl fmt::Debug for PoolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSource")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A stage that needs a machine of a pool, prepared.
#[derive(Debug, Clone)]
pub struct SetupRequest {
    /// The pool.
    pub pool: PoolName,
    /// The stage. A retry with the same id and setup gets the same machine.
    pub stage: StageId,
    /// What the machine is prepared with.
    pub setup: StageSetup,
    /// Waits for a machine at most this long; `None`: the pool's own.
    pub wait: Option<Duration>,
    /// The stage lasts at most this long; `None`: the pool's own.
    pub lasts: Option<Duration>,
    /// Where a machine is launched for it: see [`AcquireRequest::zone`](crate::pool::AcquireRequest::zone).
    pub zone: Option<Arc<str>>,
    /// What its machine is tagged with, once it is the stage's; no part of what
    /// tells a retry from another request.
    pub tags: BTreeMap<String, String>,
}

impl SetupRequest {
    /// A request with the pool's own deadlines.
    pub fn new(pool: impl Into<PoolName>, stage: impl Into<StageId>, setup: StageSetup) -> Self {
        Self {
            pool: pool.into(),
            stage: stage.into(),
            setup,
            wait: None,
            lasts: None,
            zone: None,
            tags: BTreeMap::new(),
        }
    }
}
