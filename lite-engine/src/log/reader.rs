//! The agent's end of a log: any number of readers from any offset, and the release of what was taken.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::segments::Segments;
use super::writer::open_segment;

/// Bytes that one call of [`LogReader::next`] returns at most.
const CHUNK: u64 = 256 * 1024;

/// How far a step's log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes in the log.
    pub(crate) written: u64,
    /// Nothing will be added: the step is over, or nobody watches it any more.
    pub(crate) ended: bool,
}

/// The log of one step, as the agent sees it.
#[derive(Debug)]
pub(crate) struct StepLog {
    segments: Segments,
    /// Where the oldest segment begins that was not released.
    begin: Mutex<u64>,
}

impl StepLog {
    /// The log of this name in the directory of all logs, which begins at `begin`.
    pub(crate) fn new(dir: &Path, name: &str, segment_bytes: u64, begin: u64) -> Self {
        Self {
            segments: Segments::new(dir, name, segment_bytes),
            begin: Mutex::new(begin),
        }
    }

    /// Where the log begins: what was before was released.
    pub(crate) fn begin(&self) -> u64 {
        *self.begin.lock()
    }

    /// Bytes in the log now, where at least `known` were seen before.
    pub(crate) fn measure(&self, known: u64) -> io::Result<u64> {
        let mut start = self.segments.start_of(known);
        let mut written = known;
        loop {
            match fs::metadata(self.segments.path(start)) {
                Ok(segment) => written = written.max(start + segment.len()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(written),
                Err(error) => return Err(error),
            }
            if written < start + self.segments.bytes() {
                return Ok(written);
            }
            start += self.segments.bytes();
        }
    }

    /// Gives the space of the bytes before `taken` back, as far as whole
    /// segments go; of a log that has `ended`, all of it goes when all is taken.
    /// Returns whether any space came free.
    pub(crate) fn release(&self, taken: u64, progress: Progress) -> io::Result<bool> {
        let mut begin = self.begin.lock();
        let before = *begin;
        let complete = progress.ended && taken >= progress.written;
        while *begin < progress.written {
            let end = *begin + self.segments.bytes();
            if end > taken && !complete {
                break;
            }
            if end == progress.written && !progress.ended {
                // The log's end stays known, and the step may go on there.
                open_segment(&self.segments.path(end))?;
            }
            match fs::remove_file(self.segments.path(*begin)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => *begin = end.min(progress.written),
            }
        }
        if complete {
            // One that a release put there.
            let _ = fs::remove_file(self.segments.path(progress.written));
        }
        Ok(*begin > before)
    }
}

/// Bytes of a log and where they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The position of the first byte.
    pub offset: u64,
    /// The bytes, never none.
    pub bytes: Bytes,
}

/// A log could not be read further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The reader began behind the end of a log that will not grow.
    #[error("read the log from byte {offset}: it ends at {end}")]
    BehindEnd {
        /// Where the reader is.
        offset: u64,
        /// Where the log ends.
        end: u64,
    },
    /// The bytes were released after the runner had taken them.
    #[error("read the log from byte {offset}: it was released")]
    Released {
        /// Where the reader is.
        offset: u64,
    },
    /// Nobody watches the step any more; its log may still grow.
    #[error("read the log from byte {offset}: the host was closed")]
    Closed {
        /// Where the reader is.
        offset: u64,
    },
    /// The log's file could not be read.
    #[error("read the log from byte {offset}")]
    Read {
        /// Where the reader is.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Reads one log from an offset to its end, and waits there while the step runs.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<StepLog>,
    progress: watch::Receiver<Progress>,
    closing: CancellationToken,
    offset: u64,
    open: Option<(u64, Arc<File>)>,
    /// What follows the log, once it is known.
    tail: Option<watch::Receiver<Option<Bytes>>>,
}

impl LogReader {
    pub(crate) fn new(
        log: Arc<StepLog>,
        progress: watch::Receiver<Progress>,
        closing: CancellationToken,
        offset: u64,
    ) -> Self {
        Self {
            log,
            progress,
            closing,
            offset,
            open: None,
            tail: None,
        }
    }

    /// The same reader, with bytes that follow the log: it waits for them at the
    /// log's end. A sender that goes without any means that there are none.
    pub(crate) fn followed_by(mut self, tail: watch::Receiver<Option<Bytes>>) -> Self {
        self.tail = Some(tail);
        self
    }

    /// Where the next bytes begin.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, as soon as there are any; `None` at the end of the log of a step that is over.
    ///
    /// # Cancel safety
    /// Cancelling loses nothing: the next call returns the same bytes.
    pub async fn next(&mut self) -> Result<Option<LogChunk>, LogError> {
        let offset = self.offset;
        let more = self
            .progress
            .wait_for(|now| now.written > offset || now.ended);
        let progress = tokio::select! {
            biased;
            more = more => more.map(|progress| *progress).ok(),
            () = self.closing.cancelled() => None,
        };
        let progress = progress.ok_or(LogError::Closed { offset })?;
        if progress.written <= offset {
            return self.read_tail(progress.written).await;
        }
        let bytes = self.read(progress.written).await?;
        self.offset += bytes.len() as u64;
        Ok(Some(LogChunk { offset, bytes }))
    }

    /// The rest of what follows a log that ends at `end`.
    async fn read_tail(&mut self, end: u64) -> Result<Option<LogChunk>, LogError> {
        let offset = self.offset;
        let tail = match &mut self.tail {
            None => None,
            Some(tail) => tokio::select! {
                biased;
                known = tail.wait_for(Option::is_some) => known.ok().and_then(|tail| tail.clone()),
                () = self.closing.cancelled() => return Err(LogError::Closed { offset }),
            },
        };
        let tail = tail.unwrap_or_default();
        let skip = usize::try_from(offset - end).ok();
        let rest = skip.filter(|skip| *skip <= tail.len());
        let Some(rest) = rest.map(|skip| tail.slice(skip..)) else {
            let end = end + tail.len() as u64;
            return Err(LogError::BehindEnd { offset, end });
        };
        if rest.is_empty() {
            return Ok(None);
        }
        self.offset += rest.len() as u64;
        Ok(Some(LogChunk {
            offset,
            bytes: rest,
        }))
    }

    /// Bytes from the reader's offset to `written`, to the segment's end or to the size of a chunk.
    async fn read(&mut self, written: u64) -> Result<Bytes, LogError> {
        let offset = self.offset;
        let start = self.log.segments.start_of(offset);
        let end = written
            .min(start + self.log.segments.bytes())
            .min(offset + CHUNK);
        let length = usize::try_from(end - offset).expect("a chunk fits into memory");
        let opened = self
            .open
            .take()
            .filter(|(at, _)| *at == start)
            .map(|(_, file)| file);
        let path = self.log.segments.path(start);
        let read = tokio::task::spawn_blocking(move || {
            let file = opened.map_or_else(|| File::open(path).map(Arc::new), Ok)?;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset - start)?;
            Ok((file, bytes))
        });
        let read = read
            .await
            .unwrap_or_else(|failed| Err(io::Error::other(failed)));
        let (file, bytes) = read.map_err(|source| match source.kind() {
            ErrorKind::NotFound => LogError::Released { offset },
            _ => LogError::Read { offset, source },
        })?;
        self.open = Some((start, file));
        Ok(bytes.into())
    }
}
