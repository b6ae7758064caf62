//! The state directory: what one runner must not forget, and a lock that
//! keeps a second one out.
//!
//! ```text
//! lock              held while a runner works here; its holder's process id
//! runner-id         this runner's name among others, for good
//! trust.pem         the deployment's CA and keys, unless they are elsewhere
//! vmpool.db         the journal, unless it is elsewhere
//! logs/             the logs of steps, unless they are elsewhere
//! ec2-answers.json  what EC2 said of images last, for starts without it
//! grpc-url          where tools reach the runner, or reached the last one
//! ```
//!
//! Invariant: nobody but its owner can read or replace anything in it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use vmpool_core::RunnerId;

const LOCK: &str = "lock";
const RUNNER_ID: &str = "runner-id";
const GRPC_URL: &str = "grpc-url";

/// Why a state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// A file or the directory itself.
    #[error("{attempted} {}", path.display())]
    File {
        attempted: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others than its owner can get at it.
    #[error("{} has mode {mode:04o}, so that others can get at what is in it; set it right with: chmod 700 {}", path.display(), path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// Another runner works here.
    #[error("the state directory {} is in use by {holder}: each runner needs one of its own, see --state", path.display())]
    Locked { path: PathBuf, holder: String },
    /// The file with the runner's id has something else in it.
    #[error("{}: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
}

/// A state directory. Not locked: see [`StateDir::lock`].
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// The right to work in a state directory: ends when it is dropped, or with
/// the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl StateDir {
    /// Opens the directory, made if need be. Blocks.
    ///
    /// # Errors
    /// It can't be made, or others can get at it.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |attempted, source| file_error(attempted, path, source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| failed("create the state directory", source))?;
        // Absolute, so that it stays the same whatever directory is current later.
        let path =
            fs::canonicalize(path).map_err(|source| failed("find the state directory", source))?;
        let found =
            fs::metadata(&path).map_err(|source| failed("look at the state directory", source))?;
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StateError::Exposed { path, mode });
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the right to work here, if nobody has it. Blocks.
    ///
    /// # Errors
    /// [`StateError::Locked`] names the process that has it.
    pub(crate) fn lock(&self) -> Result<Lock, StateError> {
        let path = self.path.join(LOCK);
        let failed = |attempted, source| file_error(attempted, &path, source);
        let mut file = private()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| failed("open", source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = file.read_to_string(&mut holder);
                let holder = match (read, holder.trim()) {
                    (Ok(_), pid) if !pid.is_empty() => format!("process {pid}"),
                    // It was locked this very moment.
                    _ => "another runner".to_owned(),
                };
                return Err(StateError::Locked {
                    path: self.path.clone(),
                    holder,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|source| failed("write", source))?;
        Ok(Lock { _file: file })
    }

    /// This runner's id, made at the first call. The lock must be held. Blocks.
    ///
    /// # Errors
    /// The file can't be used, or is not what this made.
    pub(crate) fn runner_id(&self, _lock: &Lock) -> Result<RunnerId, StateError> {
        let path = self.path.join(RUNNER_ID);
        match fs::read_to_string(&path) {
            Ok(text) => RunnerId::parse(text.trim()).map_err(|error| StateError::Damaged {
                path,
                reason: error.to_string(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = RunnerId::fresh();
                self.write(RUNNER_ID, id.as_str())?;
                Ok(id)
            }
            Err(source) => Err(file_error("read", &path, source)),
        }
    }

    /// Writes down where tools reach the runner that works here. The lock must
    /// be held. Blocks.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn serves_tools_at(&self, url: &str) -> Result<(), StateError> {
        self.write(GRPC_URL, url)
    }

    /// Where tools reach the runner that works in the directory `path`, or
    /// worked there last, and its id. Blocks.
    pub(crate) fn last_runner(path: &Path) -> Option<(String, String)> {
        let read = |name| fs::read_to_string(path.join(name)).ok();
        let (url, id) = (read(GRPC_URL)?, read(RUNNER_ID)?);
        Some((url.trim().to_owned(), id.trim().to_owned()))
    }

    /// Writes a file in one step: it is there whole and durable, or not at all.
    fn write(&self, name: &str, text: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        let write = || -> io::Result<()> {
            // The library makes its files with mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            writeln!(file, "{text}")?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| file_error("write", &path, source))
    }
}

/// Options of a file that only its owner may read and write.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn file_error(attempted: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::File {
        attempted,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, StateDir) {
        let parent = tempfile::tempdir().unwrap();
        let state = StateDir::open(&parent.path().join("a/state")).unwrap();
        (parent, state)
    }

    #[test]
    fn p11_the_directory_is_its_owners_alone() {
        let (_parent, state) = directory();
        let mode = fs::metadata(state.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = StateDir::open(state.path()).unwrap_err().to_string();
        assert!(
            error.contains("mode 0750") && error.contains("chmod 700"),
            "{error}"
        );
    }

    #[test]
    fn a_second_runner_is_told_who_holds_the_lock() {
        let (_parent, state) = directory();
        let lock = state.lock().unwrap();
        let error = state.lock().unwrap_err().to_string();
        let holder = format!("in use by process {}", std::process::id());
        assert!(
            error.contains(&holder) && error.contains("--state"),
            "{error}"
        );

        drop(lock);
        state.lock().unwrap();
    }

    #[test]
    fn a_runner_keeps_its_id() {
        let (_parent, state) = directory();
        let lock = state.lock().unwrap();
        let id = state.runner_id(&lock).unwrap();
        assert_eq!(state.runner_id(&lock).unwrap(), id);

        fs::write(state.path().join(RUNNER_ID), "").unwrap();
        let error = state.runner_id(&lock).unwrap_err().to_string();
        assert!(error.ends_with("runner-id: runner id is empty"), "{error}");
    }
}
