//! Parts of a chore: commands with a name, each timed and shown.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What ran, and how long it took.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    done: Vec<(&'static str, Duration)>,
}

impl Parts {
    /// Runs `part`; the first that fails ends the chore.
    pub(crate) fn run(
        &mut self,
        name: &'static str,
        part: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        println!("── {name}");
        let begun = Instant::now();
        let result = part();
        self.done.push((name, begun.elapsed()));
        result.with_context(|| format!("{name} failed"))
    }

    /// Prints each part's time.
    pub(crate) fn report(&self) {
        println!("── minutes");
        for (name, took) in &self.done {
            println!("{:>6.1}  {name}", took.as_secs_f64() / 60.0);
        }
        let all: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("{:>6.1}  in all", all.as_secs_f64() / 60.0);
    }
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // A relative one is relative to where commands are run.
    workspace().join(named.unwrap_or_else(|| PathBuf::from("target")))
}

/// A command in the workspace's folder.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(workspace());
    command
}

/// Runs a command to its end; anything but success is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// Runs a command to its end, and gives what it said on standard output.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The cargo that runs this chore, with `args`.
pub(crate) fn cargo_command(args: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    command(&cargo, args)
}

/// Runs cargo with `args`.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    run(&mut cargo_command(args))
}
