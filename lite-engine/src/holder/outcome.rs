//! The outcome of a step, as a file of its directory that is either there and whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::renameat;
use vmpool_core::{StepOutcome, StepStatus};

/// The holder's word.
const STATUS: &str = "status";

/// The host's word.
const RESULT: &str = "result";

/// Room that an outcome takes at most; longer reasons are cut.
const OUTCOME_MAX: usize = 4096;

const RESERVED: &str = "status.reserved";

/// Room on the disk for the outcome, taken before the step begins: a step that
/// fills the disk still has an end.
#[derive(Debug)]
pub(super) struct OutcomeFile {
    file: File,
    /// The directory itself and not its name, which might come to a new one.
    dir: File,
}

impl OutcomeFile {
    pub(super) fn reserve(dir: &Path) -> io::Result<Self> {
        let mut file = create(&dir.join(RESERVED))?;
        file.write_all(&[b' '; OUTCOME_MAX])?;
        Ok(Self {
            file,
            dir: File::open(dir)?,
        })
    }

    /// Makes the outcome known.
    pub(super) fn publish(&self, outcome: &StepOutcome) -> io::Result<()> {
        let bytes = to_bytes(outcome)?;
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        renameat(&self.dir, RESERVED, &self.dir, STATUS)?;
        Ok(())
    }
}

/// The outcome of the step whose directory is `dir`, if it is over: the host's
/// word where there is one, else the holder's.
pub(crate) fn read_outcome(dir: &Path) -> io::Result<Option<StepOutcome>> {
    for name in [RESULT, STATUS] {
        match fs::read(dir.join(name)) {
            Ok(bytes) => return Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Writes the host's word on how a step ended. It counts whatever the holder
/// has written, or will write.
pub(crate) fn write_result(dir: &Path, outcome: &StepOutcome) -> io::Result<()> {
    write_atomically(dir, RESULT, &to_bytes(outcome)?)
}

/// Writes a file that is never seen half-written.
pub(crate) fn write_atomically(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    create(&new)?.write_all(bytes)?;
    fs::rename(new, dir.join(name))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn to_bytes(outcome: &StepOutcome) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(outcome)?;
    if bytes.len() <= OUTCOME_MAX {
        return Ok(bytes);
    }
    let mut shorter = outcome.clone();
    if let StepStatus::NotStarted { reason } | StepStatus::Lost { reason } = &mut shorter.status {
        // JSON writes a character as six bytes at most.
        *reason = reason.chars().take(OUTCOME_MAX / 8).collect();
    }
    Ok(serde_json::to_vec(&shorter)?)
}
