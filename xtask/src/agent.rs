//! The agent as it is shipped: one static file for each kind of machine, under
//! the names that a runner serves them by, with their checksums.
//!
//! Nothing is shipped that was not run: [`trial`].

mod trial;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::parts::{self, command, target};
use crate::programs::{KINDS, Kind, Program};

/// A machine downloads it before it can do anything else: bytes, at most.
const MOST: u64 = 8_000_000;

/// The file of checksums, as `sha256sum --check` reads it.
pub(crate) const SUMS: &str = "SHA256SUMS";

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
    pub(crate) fn folder(self) -> PathBuf {
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
        Program::Agent.build(agent.profile(), *kind)?;
    }
    let folder = agent.folder();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for kind in kinds {
        let built = Program::Agent.built(agent.profile(), *kind);
        let file = agent.file(*kind);
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

/// A file's size in bytes.
pub(crate) fn size(file: &Path) -> Result<u64> {
    let found = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
    Ok(found.len())
}

fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
