//! Builds static programs for other machines: zig is the C compiler and the
//! linker, with musl's headers for each, in an environment of Python's of its own.

use anyhow::{Context, Result};

use crate::parts::{self, command};
use crate::setup;

/// The releases that were tried.
const PACKAGES: [&str; 2] = ["ziglang==0.17.1", "cargo-zigbuild==0.24.0"];

/// Builds a package's program for a target.
pub(super) fn build(profile: &str, triple: &str, package: &str, name: &str) -> Result<()> {
    let tools = setup::python_tools("zig", &PACKAGES)?.join("bin");
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.clone()).chain(std::env::split_paths(&others));
    let path = std::env::join_paths(path).context("a folder's name has a colon")?;
    let args = ["zigbuild", "--locked", "--profile", profile, "--target"];
    let mut build = command(&tools.join("cargo-zigbuild").to_string_lossy(), &args);
    build.args([triple, "-p", package, "--bin", name]);
    build.env("PATH", path);
    parts::run(&mut build)
}
