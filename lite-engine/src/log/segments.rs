//! The names and sizes of log segments, and the space that a stage's logs take.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How much room the logs of one stage may take on the machine's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpace {
    /// Bytes of one segment, the unit in which space is given back.
    pub segment_bytes: u64,
    /// Bytes that the logs of all steps share. They take at most one segment
    /// more for each step.
    pub stage_bytes: u64,
}

/// 1 GiB in segments of 4 MiB.
impl Default for LogSpace {
    fn default() -> Self {
        Self {
            segment_bytes: 4 * 1024 * 1024,
            stage_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// The segments of one step, in the directory of all logs.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    name: String,
    bytes: u64,
}

impl Segments {
    pub(super) fn new(dir: &Path, name: &str, segment_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            bytes: segment_bytes.max(1),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the segment that holds `offset` begins.
    pub(super) fn start_of(&self, offset: u64) -> u64 {
        offset - offset % self.bytes
    }

    pub(super) fn path(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{}.{start}", self.name))
    }

    /// The directory of all logs.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Where the logs begin that are in this directory, by their names.
pub(crate) fn beginnings(dir: &Path) -> io::Result<HashMap<String, u64>> {
    let mut beginnings = HashMap::new();
    for entry in fs::read_dir(dir)? {
        let file = entry?.file_name();
        let Some((name, start)) = file.to_str().and_then(|file| file.rsplit_once('.')) else {
            continue;
        };
        if let Ok(start) = start.parse::<u64>() {
            let begin = beginnings.entry(name.to_owned()).or_insert(start);
            *begin = start.min(*begin);
        }
    }
    Ok(beginnings)
}

/// How many bytes all logs in this directory take.
pub(super) fn bytes_used(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        // One that just went away takes none.
        bytes += entry?.metadata().map_or(0, |segment| segment.len());
    }
    Ok(bytes)
}
