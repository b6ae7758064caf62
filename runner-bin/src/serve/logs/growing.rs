//! A log that is read while it grows: from any offset, as much as there is, or
//! as soon as there is more.
//!
//! Who writes a log in this process says so ([`Growth`]); what another process
//! writes, as during an upgrade, is looked for now and then. Whether more will
//! come only the journal knows: ask it first, then read.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use vmpool_core::{StageId, StepId};

use super::FileLogs;

/// What another process has written is found after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Some of a log, as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where the bytes begin, from the log's start.
    pub(crate) offset: u64,
    /// They are fewer than were asked for only where the log ends.
    pub(crate) bytes: Vec<u8>,
    /// How long the log is so far. Less than `offset`: it never was so long.
    pub(crate) length: u64,
}

impl FileLogs {
    /// At most `most` bytes of a step's log from `offset` on. A log that was
    /// not begun is empty.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) async fn read(
        &self,
        stage: &StageId,
        step: &StepId,
        offset: u64,
        most: usize,
    ) -> io::Result<Part> {
        let path = self.path(stage, step);
        spawn_blocking(move || read_at(&path, offset, most)).await?
    }

    /// The same, once there is anything beyond `offset`, but no later than `until`:
    /// then without any bytes.
    ///
    /// # Errors
    /// The file can't be read.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken away.
    pub(crate) async fn read_more(
        &self,
        stage: &StageId,
        step: &StepId,
        offset: u64,
        most: usize,
        until: Instant,
    ) -> io::Result<Part> {
        let grows = self.growth.of(&self.path(stage, step));
        let mut grown = grows.subscribe();
        loop {
            grown.mark_unchanged();
            let part = self.read(stage, step, offset, most).await?;
            if !part.bytes.is_empty() || Instant::now() >= until {
                return Ok(part);
            }
            let look = until.min(Instant::now() + LOOK_AGAIN);
            // The sender lives as long as `grows`.
            let _ = timeout_at(look, grown.changed()).await;
        }
    }
}

fn read_at(path: &Path, offset: u64, most: usize) -> io::Result<Part> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Part {
                offset,
                bytes: Vec::new(),
                length: 0,
            });
        }
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let there = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; there.min(most)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Part {
        offset,
        bytes,
        length,
    })
}

/// The logs that this process writes or waits for, by their files.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth(Arc<Mutex<HashMap<PathBuf, Weak<Grows>>>>);

/// Tells those who wait for one log that it has grown.
#[derive(Debug)]
pub(super) struct Grows {
    path: PathBuf,
    among: Growth,
    told: watch::Sender<()>,
}

impl Growth {
    pub(super) fn of(&self, path: &Path) -> Arc<Grows> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(path).and_then(Weak::upgrade) {
            return known;
        }
        let grows = Arc::new(Grows {
            path: path.to_owned(),
            among: self.clone(),
            told: watch::Sender::new(()),
        });
        all.insert(path.to_owned(), Arc::downgrade(&grows));
        grows
    }
}

impl Grows {
    pub(super) fn tell(&self) {
        self.told.send_replace(());
    }

    fn subscribe(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }
}

impl Drop for Grows {
    fn drop(&mut self) {
        let mut all = self.among.0.lock();
        // Another may have come in its place since nobody had this one.
        if all.get(&self.path).is_some_and(|it| it.strong_count() == 0) {
            all.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use vmpool_core::LogStore as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn logs() -> (tempfile::TempDir, FileLogs, StageId, StepId) {
        let parent = tempfile::tempdir().unwrap();
        let logs = FileLogs::new(parent.path().join("logs"));
        (parent, logs, StageId::new("s"), StepId::new("build"))
    }

    #[tokio::test]
    async fn p4_a_log_is_read_from_any_offset() {
        let (_parent, logs, stage, step) = logs();
        let nothing = logs.read(&stage, &step, 3, 10).await.unwrap();
        assert_eq!((nothing.bytes.len(), nothing.length), (0, 0));

        let mut log = logs.open(&stage, &step).await.unwrap();
        log.write(&step, 0, b"one\ntwo\n").await.unwrap();
        let part = logs.read(&stage, &step, 4, 2).await.unwrap();
        assert_eq!((&*part.bytes, part.length), (&b"tw"[..], 8));
        let end = logs.read(&stage, &step, 8, 2).await.unwrap();
        assert_eq!((end.bytes.len(), end.length), (0, 8));
        let beyond = logs.read(&stage, &step, 9, 2).await.unwrap();
        assert_eq!((beyond.bytes.len(), beyond.length), (0, 8));
    }

    #[tokio::test]
    async fn who_waits_for_more_is_told_when_it_is_written() {
        let (_parent, logs, stage, step) = logs();
        let (writes, begun, now) = (logs.clone(), logs.clone(), step.clone());
        let writing = async {
            let mut log = writes.open(&stage, &now).await.unwrap();
            log.write(&now, 0, b"one\n").await.unwrap();
        };
        let until = Instant::now() + LONG;
        let (part, ()) = tokio::join!(begun.read_more(&stage, &step, 0, 100, until), writing);
        assert_eq!(part.unwrap().bytes, b"one\n");
        assert!(logs.growth.0.lock().is_empty(), "nobody is remembered");
    }

    #[tokio::test]
    async fn p3_who_waits_for_more_waits_no_longer_than_it_wants() {
        let (_parent, logs, stage, step) = logs();
        let part = logs
            .read_more(&stage, &step, 0, 100, Instant::now())
            .await
            .unwrap();
        assert!(part.bytes.is_empty());
    }
}
