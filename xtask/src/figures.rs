//! `cargo xtask figures`: runs the benches on this machine and writes their table.

use anyhow::{Context, Result, bail};

use crate::agent::{self, Agent};
use crate::parts::{self, command, workspace};
use crate::programs::AMD64;

/// Measures, and writes docs/benchmarks.md and its picture.
pub(crate) fn run() -> Result<()> {
    agent::build(Agent::SHIPPED, &[AMD64])?;
    let agent = Agent::SHIPPED.file(AMD64);
    let agent_size = agent::size(&agent)?;
    // Together, so that what both need is built once.
    let programs = ["build", "--release", "--locked", "--workspace"];
    let programs = [&programs[..], &["--bin", "vmpool", "--bin", "benches"]].concat();
    parts::cargo(&programs)?;
    let release = parts::target().join("release");
    let output = command(&release.join("benches").to_string_lossy(), &["--markdown"])
        .env("VMPOOL_AGENT", &agent)
        .env("VMPOOL_PROGRAM", release.join("vmpool"))
        .env("VMPOOL_PLOT", workspace().join("docs").join("latency.svg"))
        .env("VMPOOL_AGENT_SIZE", agent_size.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start the benches")?;
    if !output.status.success() {
        bail!("the benches: {}", output.status);
    }
    let file = workspace().join("docs").join("benchmarks.md");
    std::fs::write(&file, &output.stdout).with_context(|| format!("write {}", file.display()))?;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
