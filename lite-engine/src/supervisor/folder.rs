//! The folder of a machine: what is known of it on this host, for whoever asks.
//!
//! ```text
//! <id>/              locked (flock) as long as its supervisor lives
//!   machine.json     its tags and address; there from the folder's first moment
//!   console.log      the end of what agent and supervisor wrote
//!   ending.json      why it ends, once it does
//!   state/           the machine's disk: the agent's directory
//! ```
//! No secret is in it that the agent does not put into its own directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vmpool_core::Tags;

use super::ending::Ending;
use crate::compat;
use crate::host::{self, remove};
use crate::limits;

const RECORD: &str = "machine.json";
const CONSOLE: &str = "console.log";
const ENDING: &str = "ending.json";
const STATE: &str = "state";

/// What never changes of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it was ordered with.
    pub tags: Tags,
    /// Where its agent listens.
    pub address: SocketAddr,
}

/// A machine's folder, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`, whether it exists or not.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the folder at `path`, locked, with its record.
    pub fn create(path: impl Into<PathBuf>, record: &Record) -> io::Result<(Self, File)> {
        let folder = Self::at(path);
        private_dir(&folder.path)?;
        let lock = folder
            .try_lock()?
            .ok_or_else(|| io::Error::from(ErrorKind::ResourceBusy))?;
        write_atomically(&folder.path, RECORD, &serde_json::to_vec(record)?)?;
        Ok((folder, lock))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The machine's disk.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join(STATE)
    }

    pub(super) fn create_state_dir(&self) -> io::Result<PathBuf> {
        let state = self.state_dir();
        private_dir(&state)?;
        Ok(state)
    }

    /// The machine's record; `None` if there is no such folder.
    pub fn record(&self) -> io::Result<Option<Record>> {
        self.read(RECORD)
    }

    /// Why the machine ends or has ended; `None` if it does not.
    pub fn ending(&self) -> io::Result<Option<Ending>> {
        self.read(ENDING)
    }

    /// Writes down why the machine ends. The first word stays.
    pub fn write_ending(&self, ending: &Ending) -> io::Result<()> {
        match self.ending() {
            Ok(Some(_)) => Ok(()),
            _ => write_atomically(&self.path, ENDING, &serde_json::to_vec(ending)?),
        }
    }

    /// Whether a supervisor, or one who is about to start it, holds the folder.
    /// One that does not exist is held by nobody.
    pub fn is_held(&self) -> io::Result<bool> {
        let Some(folder) = self.open()? else {
            return Ok(false);
        };
        // Shared, so that two who look at once don't take each other for a holder.
        match folder.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes the folder; `None` if somebody holds it, or it does not exist.
    /// It is held until the file is closed, here and wherever it was sent.
    pub fn try_lock(&self) -> io::Result<Option<File>> {
        let Some(folder) = self.open()? else {
            return Ok(None);
        };
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The console, to be written at its end.
    pub(super) fn open_console(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.path.join(CONSOLE))
    }

    /// The last whole lines of the console, at most `most` bytes.
    pub fn console_end(&self, most: usize) -> io::Result<String> {
        let bytes = match fs::read(self.path.join(CONSOLE)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            read => read?,
        };
        let mut end = &bytes[bytes.len().saturating_sub(most)..];
        if end.len() < bytes.len() {
            let line = end
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
            end = &end[line..];
        }
        Ok(String::from_utf8_lossy(end).into_owned())
    }

    /// Removes the machine's disk. Only for one who holds the folder, when no
    /// process of the machine is left.
    pub fn remove_state(&self) -> io::Result<()> {
        let state = self.state_dir();
        limits::remove_all(&state.join(host::DIR))?;
        for host in compat::hosts(&state.join(compat::DIR))? {
            limits::remove_all(&host)?;
        }
        remove(&state)
    }

    /// Removes the folder and all in it. Only for one who holds it.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_state()?;
        remove(&self.path)
    }

    fn open(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Writes a file that is never seen half-written.
fn write_atomically(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&new)?.write_all(bytes)?;
    fs::rename(new, dir.join(name))
}
