//! The folder of one step, beneath the one that agent and steps share: where
//! the step finds and leaves files for the agent.
//!
//! Only the step's user may enter it. It goes when the step's result is known.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use vmpool_core::StepId;

use crate::host::{file_name, remove};
use crate::user::Account;

/// The paths in a step's folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// That of this step.
    pub(super) fn of(shared: &Path, step: &StepId) -> Self {
        Self(shared.join(format!("step-{}", file_name(step))))
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Variables that the step returns.
    pub(super) fn outputs(&self) -> PathBuf {
        self.file("output.env")
    }

    /// Variables that the step returns and nobody may see.
    pub(super) fn secrets(&self) -> PathBuf {
        self.file("secret.env")
    }

    /// Variables for later steps.
    pub(super) fn exports(&self) -> PathBuf {
        self.file("export.env")
    }

    /// What a plugin says of what it published.
    pub(super) fn artifact(&self) -> PathBuf {
        self.file("artifact")
    }

    /// What the artifact client says of what it published.
    pub(super) fn native_artifact(&self) -> PathBuf {
        self.file("artifact.json")
    }

    /// What is to be shown beside the build.
    pub(super) fn annotations(&self) -> PathBuf {
        self.file("annotations.json")
    }

    /// What nobody needs.
    pub(super) fn scratch(&self) -> PathBuf {
        self.file("scratch")
    }

    /// Makes it, empty, for the step's user.
    pub(super) fn make(&self, user: &str) -> io::Result<()> {
        let owner = match user {
            "" => None,
            // One that nobody knows is told when the step begins.
            user => Account::find(user).ok().filter(|account| !account.is_own()),
        };
        remove(&self.0)?;
        for dir in [self.0.clone(), self.scratch()] {
            DirBuilder::new().mode(0o700).create(&dir)?;
            if let Some(owner) = &owner {
                chown(&dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
            }
        }
        Ok(())
    }

    /// Removes it. No process of the step may be left.
    pub(super) fn remove(&self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "remove a step's folder");
        }
    }
}

/// Makes the folder that agent and steps share, if it is not there; its path
/// without symbolic links.
///
/// # Errors
/// It is another user's, who could put anything in the place of a step's folder.
pub(super) fn make_shared(path: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().mode(0o755).recursive(true).create(path)?;
    let path = path.canonicalize()?;
    let owner = fs::metadata(&path)?.uid();
    if owner != geteuid().as_raw() && owner != 0 {
        return Err(io::Error::other(format!("it belongs to user {owner}")));
    }
    Ok(path)
}
