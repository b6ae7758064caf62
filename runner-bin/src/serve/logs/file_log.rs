//! The log of one step in one file.
//!
//! Every byte is written at its own offset, so that bytes which come twice, or
//! from two processes during an upgrade, change nothing.
//!
//! What is durable is what `fdatasync` has returned for; it is called for each
//! [`SYNC_EVERY`] bytes and when it is asked for. The file's name is made durable
//! with its first bytes: a step that prints nothing waits for no disk. A file
//! that is opened again is durable up to its length once it has been synced: the
//! file systems that this is for (ext4, XFS, btrfs) never show a length whose
//! bytes were not written.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;
use vmpool_core::{LogSink, LogSinkError, Returned, StepId};

use super::growing::Grows;
use super::returned;

/// The agent keeps at most about this much that it could have forgotten.
const SYNC_EVERY: u64 = 1 << 20;

/// An open log.
#[derive(Debug)]
pub(super) struct FileLog {
    file: Arc<File>,
    /// Up to where it is written.
    written: u64,
    /// Up to where it is durable; never beyond `written`.
    durable: u64,
    /// The file, while its name may not be durable.
    fresh: Option<PathBuf>,
    /// Where what the step returns is written.
    returned: PathBuf,
    /// Those who read it meanwhile.
    grows: Arc<Grows>,
}

impl FileLog {
    /// Opens the log, made with its directories if need be. Blocks.
    pub(super) fn open(path: &Path, returned: PathBuf, grows: Arc<Grows>) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let length = file.metadata()?.len();
        if length > 0 {
            // Whoever wrote it may have been killed before it did this.
            sync(&file, Some(path))?;
        }
        Ok(Self {
            file: Arc::new(file),
            written: length,
            durable: length,
            fresh: (length == 0).then(|| path.to_owned()),
            returned,
            grows,
        })
    }

    /// Writes `bytes` where the log ends. On an error nothing counts as written.
    async fn append(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let (file, at) = (Arc::clone(&self.file), self.written);
        let end = at + bytes.len() as u64;
        let fresh = self.fresh.clone();
        let is_due = end - self.durable >= SYNC_EVERY;
        spawn_blocking(move || {
            file.write_all_at(&bytes, at)?;
            if is_due {
                sync(&file, fresh.as_deref())
            } else {
                Ok(())
            }
        })
        .await??;
        self.written = end;
        self.grows.tell();
        if is_due {
            self.durable = end;
            self.fresh = None;
        }
        Ok(())
    }

    async fn synced(&mut self) -> io::Result<()> {
        if self.durable < self.written {
            let file = Arc::clone(&self.file);
            let fresh = self.fresh.clone();
            spawn_blocking(move || sync(&file, fresh.as_deref())).await??;
            self.durable = self.written;
            self.fresh = None;
        }
        Ok(())
    }

    fn broken(&self, step: &StepId, reason: &dyn fmt::Display) -> LogSinkError {
        LogSinkError {
            step: step.clone(),
            offset: self.written,
            reason: reason.to_string(),
        }
    }
}

/// Makes what is written durable, and the name of a file that is fresh with that
/// of its directory.
fn sync(file: &File, fresh: Option<&Path>) -> io::Result<()> {
    file.sync_data()?;
    for directory in fresh
        .into_iter()
        .flat_map(|path| path.ancestors().skip(1).take(2))
    {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[async_trait]
impl LogSink for FileLog {
    fn position(&self, _step: &StepId) -> u64 {
        self.durable
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        let known = self.written.checked_sub(offset).ok_or_else(|| {
            let missing = format!("the bytes up to {offset} are missing");
            self.broken(step, &missing)
        })?;
        let new = usize::try_from(known)
            .ok()
            .and_then(|known| bytes.get(known..));
        if let Some(new) = new
            && !new.is_empty()
        {
            let written = self.append(new.to_vec()).await;
            written.map_err(|error| self.broken(step, &error))?;
        }
        Ok(self.durable)
    }

    async fn sync(&mut self, step: &StepId) -> Result<u64, LogSinkError> {
        let synced = self.synced().await;
        synced.map_err(|error| self.broken(step, &error))?;
        Ok(self.durable)
    }

    async fn returned(&mut self, step: &StepId, what: &Returned) -> Result<(), LogSinkError> {
        let (path, what) = (self.returned.clone(), what.clone());
        let written = spawn_blocking(move || returned::write(&path, &what)).await;
        let written = written.map_err(io::Error::other).flatten();
        written.map_err(|error| self.broken(step, &format!("what it returns: {error}")))
    }

    async fn gap(&mut self, step: &StepId, reason: &str) -> Result<(), LogSinkError> {
        let mark = format!("\n[vmpool: the rest of this log is lost: {reason}]\n");
        let said = async {
            if !self.ends_with(mark.as_bytes())? {
                self.append(mark.clone().into_bytes()).await?;
            }
            self.synced().await
        };
        let said: io::Result<()> = said.await;
        said.map_err(|error| self.broken(step, &error))
    }
}

impl FileLog {
    /// It was said already, before this process or by another one.
    fn ends_with(&self, mark: &[u8]) -> io::Result<bool> {
        let Some(start) = self.written.checked_sub(mark.len() as u64) else {
            return Ok(false);
        };
        let mut end = vec![0; mark.len()];
        self.file.read_exact_at(&mut end, start)?;
        Ok(end == mark)
    }
}
