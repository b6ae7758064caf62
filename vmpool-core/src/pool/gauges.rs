//! A pool's gauges, set from its status: exact whenever they are read, and at
//! no cost in between.

use super::PoolStatus;
use crate::clock::Timestamp;
use crate::id::PoolName;
use crate::machine::MachineState;

impl PoolStatus {
    /// Sets the pool's gauges, for the recorder that is about to be read.
    /// [`Runner::measure`](crate::runner::Runner::measure) does it for all pools
    /// of a runner.
    pub fn measure(&self, now: Timestamp) {
        set(&self.name, Some(self), now);
    }
}

/// The gauges of a pool that is not ruled from here: nothing of it is ours.
pub(crate) fn measure_none(pool: &PoolName) {
    set(pool, None, Timestamp(0));
}

fn set(name: &PoolName, status: Option<&PoolStatus>, now: Timestamp) {
    let name = name.to_string();
    let gauge = |gauge: &'static str, value: f64| {
        metrics::gauge!(gauge, "pool" => name.clone()).set(value);
    };
    let count = |what: fn(&PoolStatus) -> u32| status.map_or(0.0, |status| what(status).into());
    let mut by_state = [0_u32; MachineState::ALL.len()];
    for machine in status.into_iter().flat_map(|status| &status.machines) {
        by_state[machine.state as usize] += 1;
    }
    for state in MachineState::ALL {
        if state.occupies_slot() {
            let machines = by_state[state as usize];
            metrics::gauge!(
                "vmpool_machines", "pool" => name.clone(), "state" => state.as_str()
            )
            .set(machines);
        }
    }
    let occupied = by_state.iter().sum::<u32>() + status.map_or(0, |status| status.ordered);
    gauge("vmpool_slots", occupied.into());
    gauge("vmpool_pool_owned", f64::from(u8::from(status.is_some())));
    gauge("vmpool_pool_wanted", count(|status| status.warm));
    gauge("vmpool_pool_limit", count(|status| status.limit));
    gauge(
        "vmpool_pool_stopped",
        count(|status| u32::from(status.stopped.is_some())),
    );
    gauge(
        "vmpool_pool_cordoned",
        count(|status| u32::from(status.cordon.is_some())),
    );
    gauge("vmpool_machines_ordered", count(|status| status.ordered));
    gauge("vmpool_stages_running", count(|status| status.claimed));
    gauge("vmpool_requests_waiting", count(|status| status.waiting));
    let first = status.and_then(|status| status.waiters.first());
    gauge(
        "vmpool_oldest_wait_seconds",
        first.map_or(0.0, |waiter| now.since(waiter.since).as_secs_f64()),
    );
    gauge(
        "vmpool_unaccounted_machines",
        count(|status| u32::try_from(status.unaccounted.len()).unwrap_or(u32::MAX)),
    );
    let checked = match status {
        None => 0.0,
        Some(status) => status
            .checked_at
            .map_or(-1.0, |at| now.since(at).as_secs_f64()),
    };
    gauge("vmpool_checked_seconds_ago", checked);
    if status.is_none() {
        gauge("vmpool_breaker_open", 0.0);
    }
}
