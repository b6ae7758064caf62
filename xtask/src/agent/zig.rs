//! Builds static programs for other machines: zig is the C compiler and the
//! linker, with musl's headers for each, in an environment of Python's of its own.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::parts::{self, command, target};
use crate::setup;

/// The releases that the agent was tried with.
const PACKAGES: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// Builds the agent for a target.
pub(super) fn build(profile: &str, triple: &str) -> Result<()> {
    let tools = tools()?.join("bin");
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.clone()).chain(std::env::split_paths(&others));
    let path = std::env::join_paths(path).context("a folder's name has a colon")?;
    let args = ["zigbuild", "--locked", "--profile", profile, "--target"];
    let mut build = command(&tools.join("cargo-zigbuild").to_string_lossy(), &args);
    build.args([triple, "-p", "lite-engine"]).env("PATH", path);
    parts::run(&mut build)
}

/// The folder of the Python environment, made once.
fn tools() -> Result<PathBuf> {
    let folder = target().join("tools").join("zig");
    let done = folder.join(PACKAGES.join("-"));
    if done.exists() {
        return Ok(folder);
    }
    setup::python_environments()?;
    parts::run(command("python3", &["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = folder.join("bin").join("pip");
    let args = ["install", "--quiet", "--disable-pip-version-check"];
    parts::run(command(&pip.to_string_lossy(), &args).args(PACKAGES))?;
    std::fs::write(&done, "").with_context(|| format!("write {}", done.display()))?;
    Ok(folder)
}
