//! The holder's end of a log: appends while there is space.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::segments::{LogSpace, Segments, bytes_used};

/// Appends to one step's log. Synchronous; for the single thread of a holder.
#[derive(Debug)]
pub(crate) struct LogWriter {
    segments: Segments,
    limit: u64,
    /// The newest segment, once there is any.
    file: Option<File>,
    offset: u64,
}

impl LogWriter {
    /// Begins the log of this name in the directory of all logs. A log of
    /// which nothing is written takes no file.
    pub(crate) fn new(dir: &Path, name: &str, space: LogSpace) -> Self {
        let segments = Segments::new(dir, name, space.segment_bytes);
        Self {
            segments,
            limit: space.stage_bytes,
            file: None,
            offset: 0,
        }
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
            let room = self.segments.bytes() - self.offset % self.segments.bytes();
            if room == self.segments.bytes() {
                self.file = None;
            }
            let file = match &mut self.file {
                Some(file) => file,
                None => match self.next_segment(beyond_limit) {
                    Ok(Some(file)) => self.file.insert(file),
                    Ok(None) => break,
                    Err(error) if is_full(&error) => break,
                    Err(error) => return Err(error),
                },
            };
            let rest = &bytes[done..];
            let part = usize::try_from(room).map_or(rest, |room| &rest[..room.min(rest.len())]);
            match file.write(part) {
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

    /// The segment at the current offset, unless there is no space for it. The
    /// first is always there.
    fn next_segment(&self, beyond_limit: bool) -> io::Result<Option<File>> {
        let path = self.segments.path(self.offset);
        let fits = || {
            let used = bytes_used(self.segments.dir())?;
            io::Result::Ok(used + self.segments.bytes() <= self.limit)
        };
        // One that exists was put there by a release: all before it has been taken.
        if beyond_limit || self.offset == 0 || path.exists() || fits()? {
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
