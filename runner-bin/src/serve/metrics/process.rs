//! Facts of this process, by the names that every Prometheus client uses. What
//! the host does not tell is not told.

use procfs::WithCurrentSystemInfo as _;
use procfs::process::{LimitValue, Process};

/// Sets the gauges.
pub(super) fn measure() {
    let Ok(process) = Process::myself() else {
        return;
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second();
        let cpu = (stat.utime + stat.stime) / ticks.max(1);
        metrics::counter!("process_cpu_seconds_total").absolute(cpu);
        set(
            "process_resident_memory_bytes",
            float(stat.rss_bytes().get()),
        );
        set("process_virtual_memory_bytes", float(stat.vsize));
        set(
            "process_threads",
            float(u64::try_from(stat.num_threads).unwrap_or(0)),
        );
        if let Ok(boot) = procfs::boot_time_secs() {
            let started = float(boot) + seconds(stat.starttime, ticks);
            set("process_start_time_seconds", started);
        }
    }
    if let Ok(open) = process.fd_count() {
        set("process_open_fds", float(open as u64));
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        set("process_max_fds", float(most));
    }
}

fn set(name: &'static str, value: f64) {
    metrics::gauge!(name).set(value);
}

fn seconds(ticks: u64, per_second: u64) -> f64 {
    float(ticks) / float(per_second.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "a measure, and far below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}
