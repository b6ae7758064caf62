//! What a pool is told: how many machines, and how long anything may take.

use std::time::Duration;

use crate::id::{DeploymentId, Owner, PoolName};
use crate::reconcile::ReconcileConfig;

/// A pool's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// The pool's name.
    pub name: PoolName,
    /// The deployment's name.
    pub owner: Owner,
    /// The deployment's random id.
    pub deployment: DeploymentId,
    /// Machines kept ready.
    pub warm: u32,
    /// Machines at most, of any state but gone and lost, open slots included (P7).
    pub limit: u32,
    /// Requests that may wait at the same time; one more is refused at once.
    pub max_waiting: usize,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// A machine is replaced when it could no longer finish a stage of
    /// [`Deadlines::stage`] before this age, but not in the first half of it.
    pub max_age: Duration,
    /// How long a request may wait for its machine by the pool's objective.
    /// Nothing depends on it but what is measured.
    pub objective: Duration,
    /// How it is held against its provider.
    pub reconcile: ReconcileConfig,
}

impl PoolConfig {
    /// The objective where none is named: a machine was ready, or nearly.
    pub const OBJECTIVE: Duration = Duration::from_secs(5);

    /// A pool of `limit` machines, `warm` of them kept ready, with the defaults of DESIGN §4.
    pub fn new(name: impl Into<PoolName>, warm: u32, limit: u32) -> Self {
        Self {
            name: name.into(),
            owner: Owner::new("vmpool"),
            deployment: DeploymentId::fresh(),
            warm,
            limit,
            max_waiting: 10_000,
            deadlines: Deadlines::default(),
            max_age: Duration::from_hours(72),
            objective: Self::OBJECTIVE,
            reconcile: ReconcileConfig::default(),
        }
    }
}

/// How long anything may take before it is over (DESIGN §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From a launch's first call until it is settled by listings instead of replayed.
    pub launching: Duration,
    /// From a machine's launch until its agent is connected.
    pub booting: Duration,
    /// From a claim until the stage is prepared.
    pub prepare: Duration,
    /// From a release until the machine is terminated, ready or not.
    pub draining: Duration,
    /// From the first terminate call until the alarm; the calls go on.
    pub terminating: Duration,
    /// A request waits for a machine at most this long.
    pub acquire: Duration,
    /// A stage lasts at most this long where its request names nothing.
    pub stage: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self {
            launching: minutes(2),
            booting: minutes(5),
            prepare: minutes(2),
            draining: minutes(2),
            terminating: minutes(10),
            acquire: minutes(10),
            stage: minutes(12 * 60),
        }
    }
}

impl Deadlines {
    /// The defaults for Windows, which boots for 6 to 8 minutes.
    pub fn windows() -> Self {
        Self {
            booting: Duration::from_mins(20),
            acquire: Duration::from_mins(25),
            ..Self::default()
        }
    }
}
