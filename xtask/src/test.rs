//! `cargo xtask test`: everything that must hold before a change lands.

use anyhow::Result;

use crate::agent::{self, Agent};
use crate::boot;
use crate::compose;
use crate::dist::{self, Dist};
use crate::fuzz::{self, Fuzz};
use crate::moto;
use crate::parts::{self, Parts, cargo, cargo_command, command};
use crate::programs::AMD64;
use crate::setup;

/// Runs all checks and all tests, the quick ones first.
pub(crate) fn run() -> Result<()> {
    let mut parts = Parts::default();
    let result = all(&mut parts);
    parts.report();
    result
}

fn all(parts: &mut Parts) -> Result<()> {
    parts.run("packages", || {
        setup::packages()?;
        setup::python_client()
    })?;
    parts.run("format", || cargo(&["fmt", "--all", "--check"]))?;
    parts.run("lints", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    // Those that are run by other chores are not among all targets.
    parts.run("lints of other tests", || {
        let others = ["archive", "boot", "compose"].map(|test| ["--test", test]);
        let args = ["clippy", "--workspace", "--locked"];
        let denied = ["--", "-D", "warnings"];
        cargo(&[&args[..], others.as_flattened(), &denied[..]].concat())
    })?;
    parts.run("docs", || {
        let args = ["doc", "--workspace", "--no-deps", "--locked"];
        parts::run(cargo_command(&args).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    // The programs that tests start are built before any of them runs.
    parts.run("build", || {
        cargo(&["test", "--workspace", "--locked", "--no-run"])
    })?;
    parts.run("tests", || cargo(&["test", "--workspace", "--locked"]))?;
    parts.run("moto", moto::run)?;
    parts.run("static agents", static_agents)?;
    parts.run("archives", || dist::run(Dist::QUICK))?;
    parts.run("containers", compose::run)?;
    parts.run("boot image", || boot::image().map(drop))?;
    parts.run("booted machines", boot::run)?;
    parts.run("fuzzing", || fuzz::run(&Fuzz::BRIEFLY))?;
    parts.run("dependencies", || {
        let deny = setup::cargo_deny()?;
        let deny = deny.to_string_lossy();
        parts::run(&mut command(
            &deny,
            &["check", "bans", "licenses", "sources"],
        ))
    })
}

/// The agents as they are shipped, but built quickly, and the tests that a
/// whole agent can be given to, on this machine's own.
fn static_agents() -> Result<()> {
    agent::run(Agent::QUICK)?;
    let args = ["test", "--workspace", "--locked", "--test", "compat"];
    let mut tests = cargo_command(&args);
    tests.args(["--test", "shipped"]);
    parts::run(tests.env("VMPOOL_TEST_AGENT", Agent::QUICK.file(AMD64)))
}
