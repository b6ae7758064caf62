//! What was asked for and what was answered, on the disk: so that a restarted
//! agent answers as the one before it would have.
//!
//! One file a stage, for the agent alone to read (0600, it carries secrets), a
//! line of JSON an entry. Lines are only added. A torn one (a full disk, a
//! crash) spoils itself and no other.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vmpool_proto::incumbent::{PollStepAnswer, SetupRequest, StartStepRequest};

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The stage is set up like this. The last one counts.
    Setup(Box<SetupRequest>),
    /// A step was asked for.
    Asked {
        request: Box<StartStepRequest>,
        /// By this it gets tokens of its workload identities.
        handle: Option<String>,
    },
    /// A step is over.
    Answered {
        id: String,
        answer: Box<PollStepAnswer>,
        /// What its log ends with, after its own output.
        epilogue: String,
    },
    /// So many lines of a step's log are in the live stream of the log service.
    Sent { id: String, lines: u64 },
    /// A step's log is where it was wanted, or nobody tries any more.
    Brought { id: String },
    /// The stage is over.
    Destroyed,
}

#[derive(Debug)]
pub(super) struct Journal(File);

impl Journal {
    /// Opens the file, a new one where there is none, with what is in it.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let entries = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            file => read(file?)?,
        };
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok((Self(file), entries))
    }

    /// Adds a line.
    pub(super) fn add(&self, entry: &Entry) -> io::Result<()> {
        // The first newline ends what was torn before.
        let mut line = b"\n".to_vec();
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        (&self.0).write_all(&line)
    }
}

fn read(file: File) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        if line.is_empty() {
            continue;
        }
        if let Ok(entry) = serde_json::from_slice(&line) {
            entries.push(entry);
        } else {
            tracing::warn!("a line of the stage's journal is torn");
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_spoils_no_other() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let path = folder.path().join("journal");
        let (journal, before) = Journal::open(&path).expect("opened");
        assert!(before.is_empty());
        journal.add(&Entry::Destroyed).expect("added");
        (&journal.0).write_all(b"\n{\"asked\":{").expect("written");
        let (journal, _) = Journal::open(&path).expect("opened");
        journal.add(&Entry::Destroyed).expect("added");
        let (_, entries) = Journal::open(&path).expect("opened");
        assert_eq!(entries.len(), 2);
    }
}
