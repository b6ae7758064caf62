//! Static programs for a kind of machine: that of this machine's own kind is
//! linked by musl's own tools, those of others are built by [`zig`].

mod zig;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::parts::{self, cargo_command, command, target};
use crate::setup;

/// A kind of machine that programs are built for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// As Rust names it.
    triple: &'static str,
    /// As runners name it.
    pub(crate) name: &'static str,
    /// Runs its programs on other machines.
    pub(crate) emulator: &'static str,
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

pub(crate) const KINDS: [Kind; 2] = [AMD64, ARM64];

impl Kind {
    /// Whether it is this machine's.
    pub(crate) fn is_native(&self) -> bool {
        self.triple.starts_with(std::env::consts::ARCH)
    }
}

/// A program that is shipped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// `lite-engine`.
    Agent,
    /// `vmpool`.
    Runner,
}

impl Program {
    /// The package that it is of, and its own name.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("lite-engine", "lite-engine"),
            Self::Runner => ("runner-bin", "vmpool"),
        }
    }

    /// Where cargo puts it.
    pub(crate) fn built(self, profile: &str, kind: Kind) -> PathBuf {
        let (_, name) = self.names();
        target().join(kind.triple).join(profile).join(name)
    }

    /// Builds it.
    pub(crate) fn build(self, profile: &str, kind: Kind) -> Result<()> {
        setup::target(kind.triple)?;
        let (package, name) = self.names();
        if kind.is_native() {
            native(profile, kind.triple, package, name)?;
        } else {
            zig::build(profile, kind.triple, package, name)?;
        }
        ensure_static(&self.built(profile, kind))
    }
}

fn native(profile: &str, triple: &str, package: &str, name: &str) -> Result<()> {
    setup::install_missing(&[("musl-gcc", "musl-tools")])?;
    let args = ["rustc", "--locked", "--profile", profile, "--target"];
    let mut build = cargo_command(&args);
    build.args([triple, "-p", package, "--bin", name, "--"]);
    // The places that are filled in when it starts (the agent has 13 000) are
    // listed in a few kilobytes, instead of in hundreds that stay in memory.
    build.args(["-C", "link-arg=-Wl,-z,pack-relative-relocs"]);
    parts::run(&mut build)
}

/// It needs nothing of the machine that it is run on but a kernel.
fn ensure_static(program: &Path) -> Result<()> {
    let mut headers = command("readelf", &["--wide", "--program-headers"]);
    let said = parts::said(headers.arg(program))?;
    ensure!(
        !said.contains("INTERP"),
        "{} is not static",
        program.display()
    );
    Ok(())
}
