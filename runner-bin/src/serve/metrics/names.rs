//! What the names of this program say, and the buckets of all histograms.

use std::sync::LazyLock;

use metrics::Unit::{Bytes, Count, Seconds};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::Matcher;

/// From a request that is answered at once to one that waits for a person.
pub(super) const USUAL: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// From a machine that was ready to one of Windows that came late.
const MACHINES: &[f64] = &[
    0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0,
    600.0, 1200.0,
];

/// From `true` to a release's whole test run.
const STEPS: &[f64] = &[
    0.01, 0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
    14_400.0, 43_200.0,
];

const GROUPS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Histograms with buckets of their own.
pub(super) static BUCKETS: LazyLock<Vec<(Matcher, &[f64])>> = LazyLock::new(|| {
    let full = |name: &str| Matcher::Full(name.to_owned());
    vec![
        (full("vmpool_acquire_seconds"), MACHINES),
        (full("vmpool_setup_seconds"), MACHINES),
        (full("vmpool_refill_seconds"), MACHINES),
        (full("vmpool_boot_seconds"), MACHINES),
        (full("vmpool_boot_phase_seconds"), MACHINES),
        (full("harness_ci_runner_wait_duration_seconds"), MACHINES),
        (
            full("harness_ci_runner_total_vm_init_duration_seconds"),
            MACHINES,
        ),
        (full("vmpool_step_seconds"), STEPS),
        (full("vmpool_http_request_seconds"), STEPS_AND_LESS),
        (full("vmpool_journal_group_writes"), GROUPS),
    ]
});

/// A request may be a step, too.
const STEPS_AND_LESS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
];

const COUNTERS: [(&str, &str); 8] = [
    (
        "process_cpu_seconds_total",
        "Processor time that this process used, in seconds",
    ),
    (
        "vmpool_http_requests_total",
        "Requests over HTTP, by route and status; aborted: the caller left",
    ),
    (
        "vmpool_grpc_requests_total",
        "Requests over gRPC, by method and the status that their answer began with",
    ),
    (
        "vmpool_trace_spans_total",
        "Spans of traces: exported, or dropped since the collector was slow or away",
    ),
    (
        "harness_ci_pipeline_execution_total",
        "Stages that got a machine, by the incumbent's name",
    ),
    (
        "harness_ci_pipeline_execution_errors_total",
        "Stages that got none, by the incumbent's name",
    ),
    (
        "harness_ci_errors_total",
        "The same, by owner alone, by the incumbent's name",
    ),
    (
        "harness_ci_pipeline_pool_fallbacks",
        "Stages that were to have a machine of another pool than they asked for first, \
         by the incumbent's name",
    ),
];

const GAUGES: [(&str, Unit, &str); 11] = [
    (
        "vmpool_build_info",
        Count,
        "1; the label says which version runs",
    ),
    (
        "vmpool_serving",
        Count,
        "1 while this process has the runner; 0 during a hand-over",
    ),
    (
        "harness_ci_pipeline_running_executions",
        Count,
        "Stages that have a machine, by the incumbent's name",
    ),
    (
        "harness_ci_pipeline_warm_pool_executions",
        Count,
        "Machines that are ready, by the incumbent's name",
    ),
    (
        "runner_vms_current",
        Count,
        "Machines by state, by the incumbent's name and its words for states",
    ),
    (
        "process_resident_memory_bytes",
        Bytes,
        "Memory that this process has",
    ),
    (
        "process_virtual_memory_bytes",
        Bytes,
        "Address space that this process has",
    ),
    (
        "process_open_fds",
        Count,
        "File descriptors that this process has open",
    ),
    (
        "process_max_fds",
        Count,
        "File descriptors that it may have open",
    ),
    ("process_threads", Count, "Threads of this process"),
    (
        "process_start_time_seconds",
        Seconds,
        "When this process started, since 1970",
    ),
];

const HISTOGRAMS: [(&str, &str); 4] = [
    (
        "vmpool_http_request_seconds",
        "Requests over HTTP, until their answer began; that of /step begins when the step ends",
    ),
    (
        "vmpool_grpc_request_seconds",
        "Requests over gRPC, until their answer began",
    ),
    (
        "harness_ci_runner_wait_duration_seconds",
        "How long stages waited for a machine to be ready, by the incumbent's name",
    ),
    (
        "harness_ci_runner_total_vm_init_duration_seconds",
        "From a stage's request to its prepared machine, by the incumbent's name",
    ),
];

/// Tells the recorder what each name says.
pub(super) fn describe() {
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
