//! The agent as it is shipped: one static file.

use anyhow::{Context, Result};

use crate::parts::{self, command, workspace};
use crate::setup;

/// What it is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds it and prints its size.
pub(crate) fn run() -> Result<()> {
    let size = build()?;
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let megabytes = size as f64 / 1e6;
    println!("lite-engine, {TARGET}, profile agent: {size} bytes ({megabytes:.1} MB)");
    Ok(())
}

/// Builds it; gives its size in bytes.
pub(crate) fn build() -> Result<u64> {
    setup::install_missing(&[("musl-gcc", "musl-tools")])?;
    parts::run(&mut command("rustup", &["target", "add", TARGET]))?;
    let args = ["build", "--locked", "--profile", "agent", "--target", TARGET, "-p", "lite-engine"];
    parts::cargo(&args)?;
    let file = workspace().join("target").join(TARGET).join("agent").join("lite-engine");
    let found = std::fs::metadata(&file).with_context(|| format!("look at {}", file.display()))?;
    Ok(found.len())
}
