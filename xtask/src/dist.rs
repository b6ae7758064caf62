//! `cargo xtask dist`: what is given to users. One archive for each kind of
//! machine, with the static runner, the static agents of all kinds, manual
//! pages, completions, the unit, and what else an operator needs; beside them
//! the bill of materials and the checksums.
//!
//! ```text
//! vmpool-0.1.0-linux-amd64.tar.gz
//!   bin/vmpool
//!   lib/vmpool/agents/lite-engine-linux-{amd64,arm64}     for `serve --agents`
//!   lib/systemd/system/vmpool.service
//!   share/man/man1   share/bash-completion   share/fish   share/zsh
//!   share/doc/vmpool
//!   share/vmpool                                          the examples of deploy/, the pool file's schema
//! ```
//! It is unpacked over `/usr`, where its unit looks for it, or over any other
//! folder. The same commit makes the same archive, byte for byte. Nothing is
//! given out that was not installed and upgraded: runner-bin/tests/archive.

mod materials;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::agent::{self, Agent};
use crate::parts::{self, cargo_command, command, target, workspace};
use crate::programs::{AMD64, KINDS, Kind, Program};

/// The shells, and where each looks for its completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/vmpool"),
    ("fish", "share/fish/vendor_completions.d/vmpool.fish"),
    ("zsh", "share/zsh/site-functions/_vmpool"),
];

/// Texts, and where they go.
const TEXTS: [(&str, &str); 8] = [
    ("README.md", "share/doc/vmpool"),
    ("CHANGELOG.md", "share/doc/vmpool"),
    ("SECURITY.md", "share/doc/vmpool"),
    ("LICENSE-APACHE", "share/doc/vmpool"),
    ("LICENSE-MIT", "share/doc/vmpool"),
    ("docs", "share/doc/vmpool"),
    ("deploy", "share/vmpool"),
    ("docs/pool-file.schema.json", "share/vmpool"),
];

/// How the archives are made.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Dist {
    /// Build quickly, and for this machine alone: not to be shipped.
    #[arg(long)]
    quick: bool,
}

impl Dist {
    /// As it is tested where time is short.
    pub(crate) const QUICK: Self = Self { quick: true };

    fn kinds(self) -> &'static [Kind] {
        if self.quick { &[AMD64] } else { &KINDS }
    }

    fn agent(self) -> Agent {
        if self.quick {
            Agent::QUICK
        } else {
            Agent::SHIPPED
        }
    }

    fn profile(self) -> &'static str {
        if self.quick { "agent-quick" } else { "release" }
    }

    /// Where the archives are put.
    pub(crate) fn folder(self) -> PathBuf {
        target().join(if self.quick { "dist-quick" } else { "dist" })
    }

    /// The static runner for a kind of machine.
    pub(crate) fn runner(self, kind: Kind) -> PathBuf {
        Program::Runner.built(self.profile(), kind)
    }

    /// The archive for a kind of machine.
    pub(crate) fn archive(self, kind: Kind) -> PathBuf {
        self.folder().join(format!("{}.tar.gz", name(kind)))
    }
}

/// What an archive is called, and the only folder in it.
fn name(kind: Kind) -> String {
    format!("vmpool-{}-{}", env!("CARGO_PKG_VERSION"), kind.name)
}

/// Makes the archives, and tries that of this machine's kind.
pub(crate) fn run(dist: Dist) -> Result<()> {
    make(dist)?;
    let test = ["test", "--locked", "--workspace", "--test", "archive"];
    parts::run(cargo_command(&test).env("VMPOOL_TEST_DIST", dist.archive(AMD64)))
}

/// Builds all, and puts it into archives.
pub(crate) fn make(dist: Dist) -> Result<()> {
    agent::build(dist.agent(), &KINDS)?;
    for kind in dist.kinds() {
        Program::Runner.build(dist.profile(), *kind)?;
    }
    let folder = dist.folder();
    fresh(&folder)?;
    for kind in dist.kinds() {
        let tree = folder.join(name(*kind));
        fill(&tree, dist, *kind)?;
        archive(&folder, *kind)?;
        fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
    }
    materials::write(&folder)?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let sums = parts::said(command("sha256sum", &[]).args(&names).current_dir(&folder))?;
    print!("{}:\n{sums}", folder.display());
    write(&folder.join("SHA256SUMS"), &sums)
}

/// Everything that the archive has.
fn fill(tree: &Path, dist: Dist, kind: Kind) -> Result<()> {
    install(&dist.runner(kind), &tree.join("bin/vmpool"), "755")?;
    let agents = dist.agent().folder();
    for kind in KINDS {
        let agent = dist.agent().file(kind);
        let file = agent.file_name().unwrap_or_default();
        install(&agent, &tree.join("lib/vmpool/agents").join(file), "755")?;
    }
    let sums = agents.join(agent::SUMS);
    let there = tree.join("lib/vmpool/agents").join(agent::SUMS);
    install(&sums, &there, "644")?;
    let unit = workspace().join("deploy/systemd/vmpool.service");
    let there = tree.join("lib/systemd/system/vmpool.service");
    install(&unit, &there, "644")?;

    // What it says of itself is said by the runner that can be run here.
    let runner = dist.runner(AMD64);
    let runner = runner.to_string_lossy();
    for (shell, path) in COMPLETIONS {
        let script = parts::said(&mut command(&runner, &["completions", shell]))?;
        write(&tree.join(path), &script)?;
    }
    let pages = tree.join("share/man/man1");
    fs::create_dir_all(&pages).with_context(|| format!("make {}", pages.display()))?;
    parts::run(command(&runner, &["man-pages"]).arg(&pages))?;
    for (text, folder) in TEXTS {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let mut copy = command("cp", &["--recursive", "--preserve=mode", text]);
        parts::run(copy.arg(&folder))?;
    }
    Ok(())
}

/// When the commit was made, in seconds since 1970: the time of all that is
/// given out. It is 0 where the sources are in no repository, and what
/// `SOURCE_DATE_EPOCH` says where that is set.
fn made() -> String {
    let git = || parts::said(&mut command("git", &["log", "-1", "--format=%ct"]));
    let said = std::env::var("SOURCE_DATE_EPOCH").or_else(|_| git());
    said.map_or_else(|_| "0".to_owned(), |said| said.trim().to_owned())
}

/// The tree as one file, which depends on nothing but the commit.
fn archive(folder: &Path, kind: Kind) -> Result<()> {
    let mtime = format!("--mtime=@{}", made());
    let file = format!("{}.tar.gz", name(kind));
    let owner = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner"];
    let mut tar = command("tar", &["--create", "--use-compress-program", "gzip -9n"]);
    tar.args(["--mode", "go=u-w", "--file", &file]).args(owner);
    tar.args([&mtime, &name(kind)]).current_dir(folder);
    parts::run(&mut tar)
}

fn install(from: &Path, to: &Path, mode: &str) -> Result<()> {
    ensure!(from.is_file(), "{} is not there", from.display());
    let mut install = command("install", &["-D", "--mode", mode]);
    parts::run(install.args([from, to]))
}

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, text))
        .with_context(|| format!("write {}", file.display()))
}

/// An empty folder, whatever was there.
fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}
