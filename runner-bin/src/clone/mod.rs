//! `vmpool clone-workspace`, the hidden command that a pipeline's `clone` step
//! runs on its machine: brings the files of a directory of this host into the
//! current directory.
//!
//! | the directory is | what comes |
//! |---|---|
//! | the top of a git work tree | what git tracks and what it would offer to add, as it is on disk now, changed or not; and a `.git` of its own with the same commits, the same branch and the same `origin` |
//! | a part of a work tree | the same files below it, without `.git` |
//! | anything else, or git is not installed | every file |
//!
//! Nothing of the original is ever written to, and no file is shared with it
//! but git's immutable objects. Sockets, pipes and devices stay behind.

mod copy;
mod git;

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub(crate) use self::git::git;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;

/// A directory that has a file of this name is a run's own state: it is never copied.
pub(crate) const STATE_MARK: &str = "vmpool-exec.lock";

/// What the hidden command is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CloneArgs {
    /// The directory that is cloned
    from: PathBuf,
    /// Take only this many commits
    #[arg(long)]
    depth: Option<NonZeroU32>,
}

/// Brings the files here and says what came.
pub(crate) fn run(args: &CloneArgs) -> Result<Exit, Stopped> {
    let here = std::env::current_dir()
        .context("find the current directory")
        .or_exit(Exit::Failed)?;
    let cloned = clone(&args.from, &here, args.depth)
        .with_context(|| format!("clone {}", args.from.display()))
        .or_exit(Exit::Failed)?;
    say(format_args!("{cloned}\n"))?;
    Ok(Exit::Success)
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
struct Cloned {
    what: What,
    files: copy::Copied,
}

/// What the original is.
#[derive(Debug, PartialEq, Eq)]
enum What {
    /// The top of a work tree, with its state in git's words.
    Repository(String),
    PartOfRepository,
    Directory,
}

impl fmt::Display for Cloned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cloned {}", self.files)?;
        match &self.what {
            What::Repository(state) => write!(f, " at {state}"),
            What::PartOfRepository => {
                f.write_str("; this is only a part of a git repository, so without .git")
            }
            What::Directory => f.write_str("; not a git repository, so all files"),
        }
    }
}

fn clone(from: &Path, to: &Path, depth: Option<NonZeroU32>) -> anyhow::Result<Cloned> {
    match git::WorkTree::of(from)? {
        Some(tree) if tree.is_top() => {
            tree.clone_repository(to, depth)?;
            let files = copy::listed(from, to, &tree.files()?)?;
            let state = git::settle(to)?;
            Ok(Cloned {
                what: What::Repository(state),
                files,
            })
        }
        Some(tree) => {
            let files = copy::listed(from, to, &tree.files()?)?;
            Ok(Cloned {
                what: What::PartOfRepository,
                files,
            })
        }
        None => Ok(Cloned {
            what: What::Directory,
            files: copy::all(from, to)?,
        }),
    }
}

#[cfg(test)]
mod tests;
