//! What a pool measures, by the `metrics` facade: the program that embeds it
//! chooses the recorder, and installs it before the pool starts. What each name
//! says is in [`crate::measures`].

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::AcquireError;
use crate::id::PoolName;
use crate::link::BootPhase;
use crate::machine::MachineState;
use crate::stage::{StageEnd, StageState};

/// The parts of a machine's start that have a name of their own here. Others
/// are told as one: an agent is not believed with names without end.
const PHASES: [&str; 7] = [
    "system",
    "clock",
    "cloud-init",
    "agent",
    "docker",
    "git",
    "other",
];

/// How stages end.
const HOW: [&str; 5] = [
    "released",
    "machine_lost",
    "unprepared",
    "over_time",
    "stopped",
];

/// Handles, so that no name is looked up on the claim path.
pub(super) struct Metrics {
    objective: Duration,
    acquired: Histogram,
    warm: Counter,
    waited: Counter,
    refused: Counter,
    asked: Counter,
    in_time: Counter,
    refills: Histogram,
    boots: Histogram,
    boot_phases: [Histogram; PHASES.len()],
    launched: Counter,
    gone: Counter,
    lost: Counter,
    ends: [Counter; HOW.len()],
    slots: Gauge,
    troubles: Counter,
    breaker: Gauge,
    unaccounted: Gauge,
    passes: Histogram,
    held_back: Counter,
}

impl Metrics {
    /// `objective`: a request that waits longer for its machine waits too long.
    pub(super) fn new(name: &PoolName, objective: Duration) -> Self {
        let pool = name.to_string();
        let requests = |outcome: &'static str| {
            metrics::counter!(
                "vmpool_acquire_requests_total", "pool" => pool.clone(), "outcome" => outcome
            )
        };
        let ended = |state: MachineState| {
            metrics::counter!(
                "vmpool_machines_ended_total", "pool" => pool.clone(), "state" => state.as_str()
            )
        };
        metrics::gauge!("vmpool_acquire_objective_seconds", "pool" => pool.clone())
            .set(objective.as_secs_f64());
        Self {
            objective,
            acquired: metrics::histogram!("vmpool_acquire_seconds", "pool" => pool.clone()),
            warm: requests("warm"),
            waited: requests("waited"),
            refused: requests("refused"),
            asked: metrics::counter!("vmpool_acquire_objective_all_total", "pool" => pool.clone()),
            in_time: metrics::counter!(
                "vmpool_acquire_objective_good_total", "pool" => pool.clone()
            ),
            refills: metrics::histogram!("vmpool_refill_seconds", "pool" => pool.clone()),
            boots: metrics::histogram!("vmpool_boot_seconds", "pool" => pool.clone()),
            boot_phases: PHASES.map(|phase| {
                metrics::histogram!(
                    "vmpool_boot_phase_seconds", "pool" => pool.clone(), "phase" => phase
                )
            }),
            launched: metrics::counter!("vmpool_machines_launched_total", "pool" => pool.clone()),
            gone: ended(MachineState::Gone),
            lost: ended(MachineState::Lost),
            ends: HOW.map(|how| {
                metrics::counter!(
                    "vmpool_stages_ended_total", "pool" => pool.clone(), "how" => how
                )
            }),
            slots: metrics::gauge!("vmpool_slots", "pool" => pool.clone()),
            troubles: metrics::counter!("vmpool_troubles_total", "pool" => pool.clone()),
            breaker: metrics::gauge!("vmpool_breaker_open", "pool" => pool.clone()),
            unaccounted: metrics::gauge!("vmpool_unaccounted_machines", "pool" => pool.clone()),
            passes: metrics::histogram!("vmpool_reconcile_seconds", "pool" => pool.clone()),
            held_back: metrics::counter!("vmpool_reconcile_held_back_total", "pool" => pool),
        }
    }

    /// A request found a machine ready.
    pub(super) fn found(&self) {
        self.warm.increment(1);
        self.got_after(Duration::ZERO);
    }

    /// A request got its machine after waiting so long for one to be ready.
    pub(super) fn waited(&self, span: Duration) {
        self.waited.increment(1);
        self.got_after(span);
    }

    fn got_after(&self, span: Duration) {
        self.acquired.record(span.as_secs_f64());
        self.asked.increment(1);
        if span <= self.objective {
            self.in_time.increment(1);
        }
    }

    /// A request ended without a machine.
    pub(super) fn refused(&self, error: &AcquireError) {
        self.refused.increment(1);
        // These two are the request's own fault.
        if !matches!(
            error,
            AcquireError::StageOver { .. } | AcquireError::Conflict { .. }
        ) {
            self.asked.increment(1);
        }
    }

    /// A request's caller gave up after waiting so long.
    pub(super) fn given_up(&self, waited: Duration) {
        if waited > self.objective {
            self.asked.increment(1);
        }
    }

    /// A machine that was missing for so long is ready.
    pub(super) fn refilled(&self, missing: Duration) {
        self.refills.record(missing.as_secs_f64());
    }

    /// A machine is ready so long after its launch.
    pub(super) fn booted(&self, took: Duration) {
        self.boots.record(took.as_secs_f64());
    }

    /// A machine's start had this part.
    pub(super) fn boot_phase(&self, phase: &BootPhase) {
        let known = PHASES.iter().position(|known| *known == phase.name);
        // The last is for all others.
        self.boot_phases[known.unwrap_or(PHASES.len() - 1)].record(phase.took.as_secs_f64());
    }

    /// The provider gave so many machines.
    pub(super) fn launched(&self, machines: usize) {
        self.launched.increment(machines as u64);
    }

    /// A machine's row says that it is in `state` now.
    pub(super) fn is_now(&self, state: MachineState) {
        match state {
            MachineState::Gone => self.gone.increment(1),
            MachineState::Lost => self.lost.increment(1),
            _ => {}
        }
    }

    /// A stage is over, if that is its state.
    pub(super) fn stage_ended(&self, state: &StageState) {
        let StageState::Ended(end) = state else {
            return;
        };
        let how = match end {
            StageEnd::Released => 0,
            StageEnd::MachineLost(_) => 1,
            StageEnd::Unprepared => 2,
            StageEnd::OverTime(_) => 3,
            StageEnd::Stopped(_) => 4,
        };
        self.ends[how].increment(1);
    }

    /// So many slots of the limit are in use.
    pub(super) fn slots(&self, slots: u32) {
        self.slots.set(f64::from(slots));
    }

    /// The breaker of [`crate::account`] opened, or closed.
    pub(super) fn breaker(&self, open: bool) {
        self.breaker.set(f64::from(u8::from(open)));
    }

    /// Something went wrong.
    pub(super) fn trouble(&self) {
        self.troubles.increment(1);
    }

    /// A pass over a listing took so long, and left so many machines unaccounted for.
    pub(super) fn reconciled(&self, unaccounted: usize, took: Duration) {
        let unaccounted = u32::try_from(unaccounted).unwrap_or(u32::MAX);
        self.unaccounted.set(f64::from(unaccounted));
        self.passes.record(took.as_secs_f64());
    }

    /// So many machines were not ended, for the bound of one pass.
    pub(super) fn held_back(&self, machines: u32) {
        self.held_back.increment(u64::from(machines));
    }
}
