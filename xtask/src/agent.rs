//! The agent as it is shipped: one static file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::parts::{self, command, workspace};
use crate::setup;

/// What it is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds it and prints its size.
pub(crate) fn run() -> Result<()> {
    let agent = build()?;
    let size = size(&agent)?;
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let megabytes = size as f64 / 1e6;
    println!("lite-engine, {TARGET}, profile agent: {size} bytes ({megabytes:.1} MB)");
    Ok(())
}

/// Builds it; gives the file.
pub(crate) fn build() -> Result<PathBuf> {
    setup::install_missing(&[("musl-gcc", "musl-tools")])?;
    parts::run(&mut command("rustup", &["target", "add", TARGET]))?;
    let args = [
        "build",
        "--locked",
        "--profile",
        "agent",
        "--target",
        TARGET,
        "-p",
        "lite-engine",
    ];
    parts::cargo(&args)?;
    Ok(workspace()
        .join("target")
        .join(TARGET)
        .join("agent")
        .join("lite-engine"))
}

/// Its size in bytes.
pub(crate) fn size(agent: &Path) -> Result<u64> {
    let found = std::fs::metadata(agent).with_context(|| format!("look at {}", agent.display()))?;
    Ok(found.len())
}
