//! A log as a file of JSON lines, where there is no log service.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use super::{Line, encode};

/// A log's key does not name a file below its folder.
#[derive(Debug, thiserror::Error)]
#[error("write the log {key:?}: a key is a relative path without `..`")]
pub struct KeyError {
    key: String,
}

/// Appends to the file of one log.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    begun: SystemTime,
}

impl FileStore {
    /// Where the log of this key is, in the folder of all logs.
    pub fn path(folder: &Path, key: &str) -> Result<PathBuf, KeyError> {
        let inside = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        let valid = Path::new(key).components().all(inside)
            && Path::new(key).file_name().is_some()
            && !key.contains('\0');
        valid.then(|| folder.join(key)).ok_or_else(|| KeyError {
            key: key.to_owned(),
        })
    }

    /// Begins the file at `path` anew, for a step that began at `begun`. Only
    /// its owner can read it.
    pub fn create(path: &Path, begun: SystemTime) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)?;
        Ok(Self { file, begun })
    }

    /// Appends lines.
    pub fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let encoded: Vec<_> = lines
            .iter()
            .map(|line| encode::in_file(line, self.begun))
            .collect();
        self.file.write_all(&encoded.concat())
    }
}
