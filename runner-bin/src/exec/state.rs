//! The temporary state directory of one run: its CA, its machines' directories.
//!
//! It is gone when the run is. A run that was killed leaves it behind; the next
//! one removes it, knowing by its lock that nobody uses it any more.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::clone::STATE_MARK;

/// What the names of state directories begin with.
const PREFIX: &str = "vmpool-exec-";

/// A directory of this run alone, readable by this user alone.
#[derive(Debug)]
pub(crate) struct StateDir {
    directory: TempDir,
    /// Locked for as long as the run lasts. The lock ends with the process,
    /// however it ends.
    _lock: File,
}

impl StateDir {
    /// Makes the directory, and removes those that killed runs left.
    ///
    /// # Errors
    /// The directory for temporary files can't be written to.
    pub(crate) fn create() -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        remove_left_behind(parent);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        // Locked before it has its name: others take an unlocked one for left behind.
        let unnamed = directory.path().join("lock");
        let lock = File::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, directory.path().join(STATE_MARK))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes it.
    ///
    /// # Errors
    /// Something in it can't be removed.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.directory.close()
    }
}

/// Best effort: what can't be removed is another user's, or goes next time.
fn remove_left_behind(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = remove_if_left(entry.path());
        }
    }
}

fn remove_if_left(directory: PathBuf) -> io::Result<()> {
    // One without its lock file is just being made, or being removed.
    let lock = File::open(directory.join(STATE_MARK))?;
    match lock.try_lock() {
        Ok(()) => fs::remove_dir_all(directory),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_removes_what_killed_runs_left_and_no_running_ones() {
        let parent = TempDir::new().unwrap();
        let running = StateDir::create_in(parent.path()).unwrap();
        let killed = parent.path().join("vmpool-exec-killed");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(STATE_MARK), "").unwrap();
        let being_made = parent.path().join("vmpool-exec-being-made");
        fs::create_dir(&being_made).unwrap();

        let state = StateDir::create_in(parent.path()).unwrap();

        assert!(!killed.exists());
        assert!(being_made.exists() && running.path().exists() && state.path().exists());
        let mode = fs::metadata(state.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = state.path().to_owned();
        state.remove().unwrap();
        assert!(!path.exists());
    }
}
