//! The memory of a local machine's processes, as the kernel counts it.

use std::fs;

use anyhow::{Context, Result, ensure};
use vmpool_core::MachineId;

/// What a machine's processes use.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Memory {
    /// All of them, in kilobytes.
    all: u64,
    /// The one that uses most: the agent.
    most: u64,
    /// Of that, what is the process's own; the rest are pages of its file.
    own: u64,
    /// The sum of each one's most so far.
    peak: u64,
}

impl Memory {
    pub(crate) fn megabytes(self) -> f64 {
        megabytes(self.all)
    }

    pub(crate) fn agent_megabytes(self) -> f64 {
        megabytes(self.most)
    }

    pub(crate) fn agents_own_megabytes(self) -> f64 {
        megabytes(self.own)
    }

    pub(crate) fn peak_megabytes(self) -> f64 {
        megabytes(self.peak)
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 * 1024.0 / 1e6
}

/// Adds up the processes that carry the machine's mark.
pub(crate) fn of_machine(id: &MachineId) -> Result<Memory> {
    let mark = format!("VMPOOL_MACHINE={id}");
    let mut memory = Memory::default();
    let mut found = 0;
    for entry in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if !environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
        {
            continue;
        }
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let resident = kilobytes(&status, "VmRSS:");
        memory.all += resident;
        if resident > memory.most {
            memory.most = resident;
            memory.own = kilobytes(&status, "RssAnon:");
        }
        memory.peak += kilobytes(&status, "VmHWM:");
        found += 1;
    }
    ensure!(found > 0, "no process of machine {id} was found");
    Ok(memory)
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
