//! What a few files of `/proc` say, as pure functions over their text.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::Sample;

/// Bytes read of a file at most: its first lines say all, or there are very many disks.
const MOST: u64 = 64 * 1024;

/// What `/proc/diskstats` counts in.
const SECTOR: u64 = 512;

/// Processor time of all processors since the boot, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Spent at work.
    pub busy: u64,
    /// Passed.
    pub total: u64,
}

/// The machine's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
}

/// What went to and from all disks since the boot, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskBytes {
    /// From them.
    pub read: u64,
    /// To them.
    pub written: u64,
}

/// The first line of `/proc/stat`.
pub fn parse_cpu(stat: &str) -> Option<CpuTime> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guests are in user and nice already.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let sum = |ticks: &[u64]| ticks.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
    let idle = sum(ticks.get(3..ticks.len().min(5))?);
    let total = sum(&ticks);
    Some(CpuTime {
        busy: total - idle,
        total,
    })
}

/// The lines of `/proc/meminfo` that matter.
pub fn parse_memory(meminfo: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim_end_matches("kB").trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    let total = bytes("MemTotal:")?;
    Some(Memory {
        total,
        available: bytes("MemAvailable:")?.min(total),
    })
}

/// `/proc/diskstats`, of those devices that `is_disk` says are whole disks.
pub fn parse_disks(diskstats: &str, is_disk: impl Fn(&str) -> bool) -> DiskBytes {
    let mut bytes = DiskBytes::default();
    for line in diskstats.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let (Some(name), Some(read), Some(written)) = (words.get(2), number(5), number(9)) else {
            continue;
        };
        if is_disk(name) {
            bytes.read = bytes.read.saturating_add(read.saturating_mul(SECTOR));
            bytes.written = bytes.written.saturating_add(written.saturating_mul(SECTOR));
        }
    }
    bytes
}

/// All of it at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    cpu: CpuTime,
    memory: Memory,
    disks: DiskBytes,
}

impl Reading {
    pub(super) fn take() -> Self {
        Self {
            cpu: parse_cpu(&text("/proc/stat")).unwrap_or_default(),
            memory: parse_memory(&text("/proc/meminfo")).unwrap_or_default(),
            disks: parse_disks(&text("/proc/diskstats"), is_disk),
        }
    }

    /// What happened since an earlier reading, `passed` ago.
    pub(super) fn since(&self, earlier: &Self, passed: Duration, at: Duration) -> Sample {
        let ticks = self.cpu.total.saturating_sub(earlier.cpu.total);
        let busy = self.cpu.busy.saturating_sub(earlier.cpu.busy);
        let used = self.memory.total - self.memory.available;
        let per_sec = |now: u64, before: u64| {
            ratio(now.saturating_sub(before), 1) / passed.as_secs_f64().max(0.001)
        };
        Sample {
            at_secs: at.as_secs_f64(),
            cpu_pct: (100.0 * ratio(busy, ticks)).min(100.0),
            memory_pct: 100.0 * ratio(used, self.memory.total),
            memory: self.memory,
            disk_read_per_sec: per_sec(self.disks.read, earlier.disks.read),
            disk_written_per_sec: per_sec(self.disks.written, earlier.disks.written),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    // What can't be read counts as nothing.
    let _ = File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A partition has no entry of its own there; devices in memory are no disks.
fn is_disk(name: &str) -> bool {
    let virtual_prefixes = ["loop", "ram", "zram", "dm-", "md"];
    !virtual_prefixes
        .iter()
        .any(|prefix| name.starts_with(prefix))
        && std::fs::exists(format!("/sys/block/{name}")).unwrap_or(false)
}
