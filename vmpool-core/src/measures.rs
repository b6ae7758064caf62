//! What this crate measures by the `metrics` facade, and what each name says:
//! for the recorder that a program installs, by [`describe`]. Where a thing is
//! measured is where it happens; what a pool has at a moment is set by
//! [`PoolStatus::measure`](crate::pool::PoolStatus::measure).
//!
//! A label is never a machine, an address, a stage or a step: their numbers
//! have no bound.

use metrics::Unit::{Count, Seconds};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const COUNTERS: [(&str, &str); 14] = [
    (
        "vmpool_acquire_requests_total",
        "Requests for a machine by how they ended: warm (one was ready), waited, refused",
    ),
    (
        "vmpool_acquire_objective_all_total",
        "Requests that count for the objective: all but those that were the caller's own fault",
    ),
    (
        "vmpool_acquire_objective_good_total",
        "Of them, those that had a machine within vmpool_acquire_objective_seconds",
    ),
    (
        "vmpool_machines_launched_total",
        "Machines that the provider gave",
    ),
    (
        "vmpool_machines_ended_total",
        "Machines that are over: gone (we ended them) or lost (somebody else did)",
    ),
    (
        "vmpool_troubles_total",
        "What went wrong; `vmpool pool ls` shows the last",
    ),
    (
        "vmpool_reconcile_held_back_total",
        "Machines that were not ended for the bound of one pass: alarm",
    ),
    (
        "vmpool_provider_calls_total",
        "Calls to the provider by how they ended",
    ),
    (
        "vmpool_provider_listings_shared_total",
        "Listings that were answered by another pool's",
    ),
    (
        "vmpool_setups_total",
        "Stages that got a prepared machine, or did not: outcome",
    ),
    (
        "vmpool_stages_ended_total",
        "Stages that are over, by how they ended",
    ),
    (
        "vmpool_steps_started_total",
        "Steps that were sent to a machine",
    ),
    (
        "vmpool_steps_ended_total",
        "Steps that are over, by outcome",
    ),
    (
        "vmpool_pools_taken_total",
        "Times that this runner became a pool's owner",
    ),
];

const GAUGES: [(&str, Unit, &str); 18] = [
    (
        "vmpool_acquire_objective_seconds",
        Seconds,
        "The objective: a request shall wait no longer for its machine",
    ),
    (
        "vmpool_pool_owned",
        Count,
        "1 while this runner owns the pool; its other gauges are 0 elsewhere",
    ),
    (
        "vmpool_pool_wanted",
        Count,
        "Machines to be kept ready, by the pool file",
    ),
    (
        "vmpool_pool_limit",
        Count,
        "Machines at most, by the pool file",
    ),
    (
        "vmpool_pool_stopped",
        Count,
        "1 while the pool takes no requests; `vmpool pool ls` says why",
    ),
    (
        "vmpool_pool_cordoned",
        Count,
        "1 while a person keeps new stages off the pool; `vmpool pool ls` says who and why",
    ),
    ("vmpool_machines", Count, "Machines by state"),
    (
        "vmpool_machines_ordered",
        Count,
        "Slots of orders that no machine fills yet",
    ),
    ("vmpool_slots", Count, "Slots of the limit in use"),
    (
        "vmpool_requests_waiting",
        Count,
        "Requests that wait for a machine",
    ),
    (
        "vmpool_oldest_wait_seconds",
        Seconds,
        "How long the first of them waits by now",
    ),
    ("vmpool_stages_running", Count, "Stages that have a machine"),
    (
        "vmpool_steps_running",
        Count,
        "Steps that this runner follows",
    ),
    (
        "vmpool_unaccounted_machines",
        Count,
        "Machines that the provider has and the journal does not, or the other way round: \
         alarm when it stays above 0",
    ),
    (
        "vmpool_checked_seconds_ago",
        Seconds,
        "Since the pool was last held against what its provider lists; -1: not yet",
    ),
    (
        "vmpool_breaker_open",
        Count,
        "1 while nothing is ordered because machines of this spec do not come up",
    ),
    (
        "vmpool_pools_unknown",
        Count,
        "Pools that have machines in the journal and are in no pool file",
    ),
    (
        "vmpool_provider_call_pace",
        Count,
        "The share of its rate that throttling left to a kind of call",
    ),
];

const HISTOGRAMS: [(&str, &str); 9] = [
    (
        "vmpool_acquire_seconds",
        "How long requests waited for a machine to be ready",
    ),
    (
        "vmpool_setup_seconds",
        "From a stage's request to its prepared machine",
    ),
    (
        "vmpool_prepare_seconds",
        "How long the agent took to prepare a claimed machine for its stage",
    ),
    (
        "vmpool_refill_seconds",
        "From a ready machine's being missing to its being there",
    ),
    (
        "vmpool_boot_seconds",
        "From a machine's launch to its agent's first connection",
    ),
    (
        "vmpool_boot_phase_seconds",
        "Parts of a machine's start, as its agent tells them",
    ),
    (
        "vmpool_step_seconds",
        "How long steps took, by the machine's clock",
    ),
    (
        "vmpool_reconcile_seconds",
        "Passes over a provider's listing",
    ),
    (
        "vmpool_provider_call_wait_seconds",
        "How long calls waited for the account's pass",
    ),
];

/// Tells the installed recorder what each name says.
pub fn describe() {
    for (name, says) in COUNTERS {
        describe_counter!(name, Count, says);
    }
    for (name, unit, says) in GAUGES {
        describe_gauge!(name, unit, says);
    }
    for (name, says) in HISTOGRAMS {
        describe_histogram!(name, Seconds, says);
    }
}
