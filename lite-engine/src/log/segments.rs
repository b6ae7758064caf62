//! The names and sizes of log segments, and the space that a stage's logs take.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const PREFIX: &str = "log.";

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

/// The segments of one step, in the step's own directory.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    bytes: u64,
}

impl Segments {
    pub(super) fn new(dir: &Path, segment_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
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
        path_in(&self.dir, start)
    }

    /// The starts of the segments that exist, in ascending order.
    pub(super) fn starts(&self) -> io::Result<Vec<u64>> {
        let mut starts = starts_in(&self.dir)?;
        starts.sort_unstable();
        Ok(starts)
    }
}

/// How many bytes the logs of all steps of a stage take; `steps` holds a directory for each step.
pub(super) fn bytes_used(steps: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for step in fs::read_dir(steps)? {
        let dir = step?.path();
        for start in starts_in(&dir)? {
            bytes += fs::metadata(path_in(&dir, start)).map_or(0, |segment| segment.len());
        }
    }
    Ok(bytes)
}

fn path_in(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{start}"))
}

/// The segments in a step's directory; a directory that just went away has none.
fn starts_in(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut starts = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let start = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        starts.extend(start.and_then(|start| start.parse::<u64>().ok()));
    }
    Ok(starts)
}
