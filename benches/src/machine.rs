//! The machine that the figures are of.

use std::fs;
use std::process::Command;

use crate::table::Row;

/// One paragraph: processor, cores, memory, kernel, compiler.
pub(crate) fn describe() -> String {
    let cpu = line_value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = line_value("/proc/meminfo", "MemTotal").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = said("uname", &["-sr"]);
    let rustc = said("rustc", &["--version"]);
    format!("{cpu}, {cores} cores, memory {memory}; {kernel}; {rustc}, release profile.")
}

/// The size of the agent as it is shipped, where the caller has built it.
pub(crate) fn agent_size() -> Option<Row> {
    let bytes: f64 = std::env::var("VMPOOL_AGENT_SIZE").ok()?.parse().ok()?;
    Some(Row {
        what: "the agent's binary: `lite-engine`, static, stripped".to_owned(),
        budget: "≤ 8 MB",
        ours: format!("{:.1} MB", bytes / 1e6),
        baseline: "–".to_owned(),
    })
}

fn line_value(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(
        |_| program.to_owned(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    )
}
