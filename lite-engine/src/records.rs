//! The records of a host's steps: which were let go, and how they ended.
//!
//! One file for all steps, appended to by the host and by every holder, a line
//! of JSON at a time: a line costs little, where a file a step would cost an
//! inode. Nothing is ever changed or removed.
//!
//! Invariants:
//! - A line is there before what it tells is acted upon: no program of a step
//!   is executed without [`Entry::Started`].
//! - A torn line (a full disk, a crash) spoils itself and no other.
//! - What ran before the machine was restarted is told from what runs now: each
//!   boot begins with an [`Entry::Booted`].
//! - There is room for the ends of steps that filled the disk: some space is
//!   reserved when the file is created.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use serde::{Deserialize, Serialize};
use vmpool_core::agent::{BootId, StepRecord};
use vmpool_core::{StepId, StepOutcome};

use crate::process::ProcessId;

/// Space that is taken from the disk beforehand: two lines for each of some thousand steps.
const RESERVED: i64 = 2 * 1024 * 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// By the host: what follows is of this boot of the machine.
    Booted {
        /// The boot.
        boot: BootId,
    },
    /// By the host: the step may be executed.
    Started {
        /// The step.
        step: StepRecord,
        /// Who holds it.
        holder: ProcessId,
        /// Bytes of a segment of its log.
        segment_bytes: u64,
    },
    /// By its holder: the step is over.
    Ended {
        /// The step.
        id: StepId,
        /// How it ended.
        outcome: StepOutcome,
    },
    /// By the host: this is how the step ended, whatever its holder tells.
    Settled {
        /// The step, which may never have been started.
        step: StepRecord,
        /// How it ended.
        outcome: StepOutcome,
    },
}

/// The end at which lines are added, by one of several processes.
#[derive(Debug)]
pub(crate) struct Records(File);

impl Records {
    /// Opens the file, a new one where there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        if file.metadata()?.len() == 0 {
            // Not every file system can, and then a full disk costs results.
            let _ = fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, RESERVED);
        }
        Ok(Self(file))
    }

    pub(crate) fn add(&self, entry: &Entry) -> io::Result<()> {
        // The first newline ends what was torn before.
        let mut line = b"\n".to_vec();
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        (&self.0).write_all(&line)
    }
}

/// Reads the lines as they come.
#[derive(Debug)]
pub(crate) struct Reader {
    file: File,
    offset: u64,
    /// The beginning of a line whose end has not been read.
    partial: Vec<u8>,
}

impl Reader {
    /// A reader from the first line on.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            offset: 0,
            partial: Vec::new(),
        })
    }

    /// The lines that came since the last call.
    pub(crate) fn news(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut buffer = [0; 8 * 1024];
        loop {
            let count = self.file.read_at(&mut buffer, self.offset)?;
            if count == 0 {
                return Ok(entries);
            }
            self.offset += count as u64;
            for &byte in &buffer[..count] {
                if byte == b'\n' {
                    entries.extend(parse(&self.partial));
                    self.partial.clear();
                } else {
                    self.partial.push(byte);
                }
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<Entry> {
    if line.is_empty() {
        return None;
    }
    let entry = serde_json::from_slice(line);
    entry
        .inspect_err(|error| tracing::warn!(%error, "a line of the steps' records is torn"))
        .ok()
}

#[cfg(test)]
mod tests {
    use vmpool_core::{StepStatus, Timestamp};

    use super::*;

    fn ended(id: &str) -> Entry {
        let outcome = StepOutcome {
            status: StepStatus::Exited { code: 0 },
            started_at: Timestamp(1),
            ended_at: Timestamp(2),
            log_end: 3,
        };
        Entry::Ended {
            id: id.into(),
            outcome,
        }
    }

    #[test]
    fn a_torn_line_spoils_no_other_and_a_line_is_read_once_it_is_whole() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let path = folder.path().join("records");
        let records = Records::open(&path).expect("created");
        let mut reader = Reader::open(&path).expect("opened");
        records.add(&ended("a")).expect("added");
        assert_eq!(reader.news().expect("read"), [ended("a")]);
        assert_eq!(reader.news().expect("read"), []);
        (&records.0)
            .write_all(br#"{"ended":{"id":"torn"#)
            .expect("written");
        assert_eq!(reader.news().expect("read"), []);
        let another = Records::open(&path).expect("opened");
        another.add(&ended("b")).expect("added");
        records.add(&ended("c")).expect("added");
        assert_eq!(reader.news().expect("read"), [ended("b"), ended("c")]);
    }
}
