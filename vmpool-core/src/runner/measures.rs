//! What a runner measures of the stages and steps of one pool, and the gauges
//! of all its pools. What the names say is in [`crate::measures`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::{PoolOwner, Runner, RunnerError};
use crate::id::PoolName;
use crate::map::Set;
use crate::pool::{Lease, Origin, measure_none};
use crate::step::{StepOutcome, StepStatus};

/// Handles of one pool.
pub(super) struct Measures {
    prepared: Counter,
    no_machine: Counter,
    failed: Counter,
    setups: Histogram,
    preparations: Histogram,
    started: Counter,
    steps: Histogram,
    pool: String,
}

impl Measures {
    /// A pool is ours from now on.
    pub(super) fn begin(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        let setups = |outcome: &'static str| metrics::counter!("vmpool_setups_total", "pool" => pool.clone(), "outcome" => outcome);
        metrics::counter!("vmpool_pools_taken_total", "pool" => pool.clone()).increment(1);
        Self {
            prepared: setups("prepared"),
            no_machine: setups("no_machine"),
            failed: setups("failed"),
            setups: metrics::histogram!("vmpool_setup_seconds", "pool" => pool.clone()),
            preparations: metrics::histogram!("vmpool_prepare_seconds", "pool" => pool.clone()),
            started: metrics::counter!("vmpool_steps_started_total", "pool" => pool.clone()),
            steps: metrics::histogram!("vmpool_step_seconds", "pool" => pool.clone()),
            pool,
        }
    }

    /// A setup ended after `took`. One that found its machine prepared already
    /// is the same setup again, and one whose pool is elsewhere is counted there.
    pub(super) fn setup(&self, ended: &Result<Lease, RunnerError>, took: Duration) {
        match ended {
            Ok(lease) if lease.origin() == Origin::Attached => {}
            Ok(_) => {
                self.prepared.increment(1);
                self.setups.record(took.as_secs_f64());
            }
            Err(RunnerError::NotOurs { .. }) => {}
            Err(RunnerError::Acquire(_)) => self.no_machine.increment(1),
            Err(_) => self.failed.increment(1),
        }
    }

    /// A machine took a stage's setup.
    pub(super) fn prepared(&self, took: Duration) {
        self.preparations.record(took.as_secs_f64());
    }

    /// A step is sent.
    pub(super) fn step_started(&self) {
        self.started.increment(1);
    }

    /// A step's end is written down.
    pub(super) fn step_ended(&self, outcome: &StepOutcome) {
        metrics::counter!(
            "vmpool_steps_ended_total",
            "pool" => self.pool.clone(), "outcome" => word(&outcome.status)
        )
        .increment(1);
        let took = outcome.ended_at.since(outcome.started_at);
        self.steps.record(took.as_secs_f64());
    }
}

/// How a step ended, in a word.
pub(super) fn word(status: &StepStatus) -> &'static str {
    match status {
        StepStatus::Exited { code: 0 } => "succeeded",
        StepStatus::Exited { .. } => "failed",
        StepStatus::Signalled { .. } => "signalled",
        StepStatus::OutOfMemory => "out_of_memory",
        StepStatus::TimedOut => "timed_out",
        StepStatus::Cancelled => "cancelled",
        StepStatus::NotStarted { .. } => "not_started",
        StepStatus::Lost { .. } => "lost",
    }
}

impl Runner {
    /// Sets the gauges of all pools, for the recorder that is about to be read.
    /// Those of pools that are not ours, or not any more, are 0.
    pub fn measure(&self) {
        let now = self.shared.parts.clock.now();
        let mut unknown = 0_u32;
        let mut names = Set::default();
        for pool in self.status() {
            match (&pool.owner, &pool.status) {
                (PoolOwner::Unknown, _) => {
                    unknown += 1;
                    continue;
                }
                (_, Some(status)) => status.measure(now),
                (_, None) => measure_none(&pool.name),
            }
            names.insert(pool.name);
        }
        let before = std::mem::replace(&mut *self.shared.measured.lock(), names.clone());
        before.difference(&names).for_each(measure_none);
        metrics::gauge!("vmpool_pools_unknown").set(unknown);
        let followed = self.shared.followed.load(Ordering::Relaxed);
        metrics::gauge!("vmpool_steps_running").set(u32::try_from(followed).unwrap_or(u32::MAX));
    }
}
