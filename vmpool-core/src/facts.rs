//! How a machine fares at a moment, as its agent finds it.

use std::fmt;

/// What a machine's processors, memory and disk do. What can't be found out is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// Processor time used, in percent of all processors.
    pub cpu_pct: f64,
    /// Its memory, in bytes.
    pub memory_total: u64,
    /// Of that, what can be had without swapping.
    pub memory_available: u64,
    /// The disk where steps work, in bytes.
    pub disk_total: u64,
    /// Of that, what can still be written.
    pub disk_available: u64,
    /// Bytes read from all disks, per second.
    pub disk_read_per_sec: f64,
    /// Bytes written to all disks, per second.
    pub disk_written_per_sec: f64,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "processors {:.0} % busy; {} of {:.1} GB of memory and {} of {:.1} GB of its disk used; \
             disks read {:.1} and write {:.1} MB/s",
            self.cpu_pct,
            used(self.memory_total, self.memory_available),
            giga(self.memory_total),
            used(self.disk_total, self.disk_available),
            giga(self.disk_total),
            self.disk_read_per_sec / 1e6,
            self.disk_written_per_sec / 1e6,
        )
    }
}

fn used(total: u64, available: u64) -> String {
    format!("{:.1}", giga(total.saturating_sub(available)))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn giga(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_what_is_used() {
        let facts = Facts {
            cpu_pct: 34.4,
            memory_total: 8_000_000_000,
            memory_available: 5_500_000_000,
            disk_total: 50_000_000_000,
            disk_available: 12_000_000_000,
            disk_read_per_sec: 0.0,
            disk_written_per_sec: 1_250_000.0,
        };
        assert_eq!(
            facts.to_string(),
            "processors 34 % busy; 2.5 of 8.0 GB of memory and 38.0 of 50.0 GB of its disk used; \
             disks read 0.0 and write 1.2 MB/s"
        );
    }
}
