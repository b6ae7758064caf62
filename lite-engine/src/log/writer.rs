//! The holder's end of a log: appends while there is space.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::segments::{LogSpace, Segments, bytes_used};

/// Appends to one step's log. Synchronous; for the single thread of a holder.
#[derive(Debug)]
pub(crate) struct LogWriter {
    segments: Segments,
    /// The directory of all steps of the stage, for measuring their logs.
    steps: PathBuf,
    limit: u64,
    file: File,
    offset: u64,
}

impl LogWriter {
    /// Begins the log of the step whose directory is `dir`, a child of the directory of all steps.
    pub(crate) fn create(dir: &Path, space: LogSpace) -> io::Result<Self> {
        let segments = Segments::new(dir, space.segment_bytes);
        let file = open_segment(&segments.path(0))?;
        let steps = dir.parent().unwrap_or(dir).to_owned();
        Ok(Self {
            segments,
            steps,
            limit: space.stage_bytes,
            file,
            offset: 0,
        })
    }

    /// Bytes written so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends as much of `bytes` as there is space for and returns how much
    /// that was. Less than all means that the log space or the disk is full.
    ///
    /// `beyond_limit` writes whatever the limit says: for the last few bytes of
    /// a step whose processes are gone, so that its end waits for nobody.
    pub(crate) fn append(&mut self, bytes: &[u8], beyond_limit: bool) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            if self.offset > 0 && self.offset.is_multiple_of(self.segments.bytes()) {
                match self.next_segment(beyond_limit) {
                    Ok(Some(file)) => self.file = file,
                    Ok(None) => break,
                    Err(error) if is_full(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            let room = self.segments.bytes() - self.offset % self.segments.bytes();
            let rest = &bytes[done..];
            let part = usize::try_from(room).map_or(rest, |room| &rest[..room.min(rest.len())]);
            match self.file.write(part) {
                Ok(written) => {
                    done += written;
                    self.offset += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// The segment at the current offset, unless the stage has no space for it.
    fn next_segment(&self, beyond_limit: bool) -> io::Result<Option<File>> {
        let path = self.segments.path(self.offset);
        // One that exists was put there by a release: all before it has been taken.
        let fits =
            || io::Result::Ok(bytes_used(&self.steps)? + self.segments.bytes() <= self.limit);
        if beyond_limit || path.exists() || fits()? {
            open_segment(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

pub(super) fn open_segment(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}
