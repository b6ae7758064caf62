//! The agent as it is shipped: one static file for each kind of machine, under
//! the names that a runner serves them by, with their checksums.
//!
//! That of this machine's own kind is linked by musl's own tools, the other one
//! is built by [`zig`]. Nothing is shipped that was not run: [`trial`].

mod trial;
mod zig;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::parts::{self, cargo_command, command, target};
use crate::setup;

/// A kind of machine that the agent is built for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// As Rust names it.
    triple: &'static str,
    /// As runners name it.
    name: &'static str,
    /// Runs its programs on other machines.
    emulator: &'static str,
}

pub(crate) const AMD64: Kind = Kind {
    triple: "x86_64-unknown-linux-musl",
    name: "linux-amd64",
    emulator: "qemu-x86_64-static",
};

pub(crate) const ARM64: Kind = Kind {
    triple: "aarch64-unknown-linux-musl",
    name: "linux-arm64",
    emulator: "qemu-aarch64-static",
};

const KINDS: [Kind; 2] = [AMD64, ARM64];

impl Kind {
    /// Whether it is this machine's.
    fn is_native(&self) -> bool {
        self.triple.starts_with(std::env::consts::ARCH)
    }
}

/// A machine downloads it before it can do anything else: bytes, at most.
const MOST: u64 = 8_000_000;

/// The file of checksums, as `sha256sum --check` reads it.
const SUMS: &str = "SHA256SUMS";

/// How the agent is built.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Agent {
    /// Build it quickly instead of small: it does the same, and is not to be shipped.
    #[arg(long)]
    quick: bool,
}

impl Agent {
    /// As it is shipped.
    pub(crate) const SHIPPED: Self = Self { quick: false };
    /// As it is tested where time is short.
    pub(crate) const QUICK: Self = Self { quick: true };

    fn profile(self) -> &'static str {
        if self.quick { "agent-quick" } else { "agent" }
    }

    /// Where the files are put: what is not to be shipped is elsewhere.
    fn folder(self) -> PathBuf {
        target().join(if self.quick { "agents-quick" } else { "agents" })
    }

    /// The file for a kind of machine.
    pub(crate) fn file(self, kind: Kind) -> PathBuf {
        self.folder().join(format!("lite-engine-{}", kind.name))
    }
}

/// Builds it for every kind of machine, tries each, and prints their sizes.
pub(crate) fn run(agent: Agent) -> Result<()> {
    build(agent, &KINDS)?;
    for kind in KINDS {
        trial::try_out(&agent.file(kind), kind)?;
    }
    println!("{}, profile {}:", agent.folder().display(), agent.profile());
    for kind in KINDS {
        let file = agent.file(kind);
        let size = size(&file)?;
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let megabytes = size as f64 / 1e6;
        println!("{megabytes:>6.1} MB  {size} bytes  {}", name(&file));
        ensure!(
            agent.quick || size <= MOST,
            "{} has more than {MOST} bytes",
            file.display()
        );
    }
    Ok(())
}

/// Builds it for these kinds of machines, with a file of their checksums.
pub(crate) fn build(agent: Agent, kinds: &[Kind]) -> Result<()> {
    for kind in kinds {
        setup::target(kind.triple)?;
        if kind.is_native() {
            native(agent.profile(), kind.triple)?;
        } else {
            zig::build(agent.profile(), kind.triple)?;
        }
    }
    let folder = agent.folder();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for kind in kinds {
        let built = target().join(kind.triple).join(agent.profile());
        let (built, file) = (built.join("lite-engine"), agent.file(*kind));
        // Not over a file that may be running.
        let new = file.with_extension("new");
        fs::copy(&built, &new)
            .and_then(|_| fs::rename(&new, &file))
            .with_context(|| format!("put {} to {}", built.display(), file.display()))?;
    }
    let names: Vec<String> = kinds.iter().map(|kind| name(&agent.file(*kind))).collect();
    let sums = parts::said(command("sha256sum", &[]).args(names).current_dir(&folder))?;
    let file = folder.join(SUMS);
    fs::write(&file, sums).with_context(|| format!("write {}", file.display()))
}

fn native(profile: &str, triple: &str) -> Result<()> {
    setup::install_missing(&[("musl-gcc", "musl-tools")])?;
    let args = ["rustc", "--locked", "--profile", profile, "--target"];
    let mut build = cargo_command(&args);
    build.args([triple, "-p", "lite-engine", "--bin", "lite-engine", "--"]);
    // Its 13 000 places that are filled in when it starts are listed in a few
    // kilobytes, instead of in 300 that stay in memory.
    build.args(["-C", "link-arg=-Wl,-z,pack-relative-relocs"]);
    parts::run(&mut build)
}

/// A file's size in bytes.
pub(crate) fn size(file: &Path) -> Result<u64> {
    let found = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
    Ok(found.len())
}

fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
