//! One step as the host sees it, and the task that watches it until its end.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vmpool_core::agent::StepRecord;
use vmpool_core::{StepId, StepOutcome, StepStatus};

use super::record::Record;
use crate::holder::{WAKE, read_outcome};
use crate::log::{LogReader, Progress, StepLog};

/// How a step is to be ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Its processes are asked to end, and forced to when the host's grace is over.
    WithGrace,
    /// The same, and its status says that it was over its time.
    OverTime,
    /// Its processes are killed.
    AtOnce,
}

/// Nobody watches the step any more: its host was closed. The step runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wait for the step: its host was closed")]
pub struct WaitError;

/// A step that was started, running or over. A handle: clones are the same
/// step, and dropping it does nothing.
#[derive(Clone, Debug)]
pub struct RunningStep {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    record: StepRecord,
    dir: PathBuf,
    log: Arc<StepLog>,
    progress: watch::Receiver<Progress>,
    outcome: watch::Receiver<Option<StepOutcome>>,
    /// The holder; none for a step that was over when it was found.
    holder: Option<Arc<OwnedFd>>,
}

impl RunningStep {
    /// The step's id.
    pub fn id(&self) -> &StepId {
        &self.shared.record.id
    }

    /// What it was recorded as before it began.
    pub fn record(&self) -> &StepRecord {
        &self.shared.record
    }

    /// How the step ended, if it is over.
    pub fn outcome(&self) -> Option<StepOutcome> {
        self.shared.outcome.borrow().clone()
    }

    /// Waits until the step is over.
    ///
    /// # Cancel safety
    /// Cancelling stops waiting and nothing else.
    pub async fn wait(&self) -> Result<StepOutcome, WaitError> {
        let mut outcome = self.shared.outcome.clone();
        let ended = outcome
            .wait_for(Option::is_some)
            .await
            .map_err(|_| WaitError)?;
        ended.clone().ok_or(WaitError)
    }

    /// Ends the step before its time. Returns at once: [`RunningStep::wait`]
    /// tells when nothing of it is left. A step that is over is no error.
    pub fn cancel(&self, how: Cancel) -> io::Result<()> {
        self.signal(match how {
            Cancel::WithGrace => Signal::TERM,
            Cancel::OverTime => Signal::ALARM,
            Cancel::AtOnce => Signal::QUIT,
        })
    }

    /// Reads the step's log from byte `offset` on, and follows it to its end.
    pub fn log(&self, offset: u64) -> LogReader {
        LogReader::new(
            self.shared.log.clone(),
            self.shared.progress.clone(),
            offset,
        )
    }

    /// Where the log begins: what was before was released.
    pub fn log_begin(&self) -> io::Result<u64> {
        let begin = self.shared.log.begin()?;
        Ok(begin.unwrap_or_else(|| self.log_end()))
    }

    /// Bytes in the log so far.
    pub fn log_end(&self) -> u64 {
        self.shared.progress.borrow().written
    }

    pub(super) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    pub(super) fn release_log(&self, taken: u64) -> io::Result<bool> {
        let progress = *self.shared.progress.borrow();
        self.shared.log.release(taken, progress)
    }

    pub(super) fn log_space_came_free(&self) {
        // A holder that is gone needs no space.
        let _ = self.signal(Signal::USR1);
    }

    /// Ends the holder, whatever it does; the watcher then ends the rest.
    pub(super) fn kill_holder(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(holder) = &self.shared.holder else {
            return Ok(());
        };
        match pidfd_send_signal(holder, signal) {
            Err(errno) if errno != rustix::io::Errno::SRCH => Err(errno.into()),
            _ => Ok(()),
        }
    }

    /// A step that is over.
    pub(super) fn ended(dir: &Path, record: &Record, outcome: StepOutcome) -> Self {
        let progress = Progress {
            written: outcome.log_end,
            ended: true,
        };
        Self {
            shared: Arc::new(Shared {
                record: record.step.clone(),
                dir: dir.to_owned(),
                log: Arc::new(StepLog::new(dir, record.segment_bytes)),
                progress: watch::channel(progress).1,
                outcome: watch::channel(Some(outcome)).1,
                holder: None,
            }),
        }
    }

    /// A step that runs, and the watcher that must be run for it.
    pub(super) fn running(
        dir: PathBuf,
        record: Record,
        holder: OwnedFd,
    ) -> io::Result<(Self, Watcher)> {
        let log = Arc::new(StepLog::new(&dir, record.segment_bytes));
        let holder = Arc::new(holder);
        let written = log.measure_anew()?;
        let (progress, progress_seen) = watch::channel(Progress {
            written,
            ended: false,
        });
        let (outcome, outcome_seen) = watch::channel(None);
        let watcher = Watcher {
            wake: pipe::OpenOptions::new().open_receiver(dir.join(WAKE))?,
            holder: ended_when_readable(holder.clone())?,
            log: log.clone(),
            progress,
            outcome,
            dir,
            record,
        };
        let shared = Shared {
            record: watcher.record.step.clone(),
            dir: watcher.dir.clone(),
            log,
            progress: progress_seen,
            outcome: outcome_seen,
            holder: Some(holder),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
            },
            watcher,
        ))
    }
}

/// Follows one step by the files that its holder writes.
pub(super) struct Watcher {
    dir: PathBuf,
    record: Record,
    wake: pipe::Receiver,
    holder: AsyncFd<Arc<OwnedFd>>,
    log: Arc<StepLog>,
    progress: watch::Sender<Progress>,
    outcome: watch::Sender<Option<StepOutcome>>,
}

impl Watcher {
    /// Watches until the step is over, or until `closing`.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        closing.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&mut self) {
        let mut bytes = [0; 4096];
        let mut wake_open = true;
        loop {
            // The outcome before the log: what was written before it is in the log.
            let over = read_outcome(&self.dir);
            self.measure();
            if let Ok(Some(outcome)) = over
                && !is_lost(&outcome)
            {
                self.announce(outcome);
                break;
            }
            tokio::select! {
                woken = self.wake.read(&mut bytes), if wake_open => {
                    wake_open = woken.is_ok_and(|count| count > 0);
                }
                _ = self.holder.readable() => {
                    self.holder_ended().await;
                    break;
                }
            }
        }
    }

    /// Shows the readers what the holder has added to the log.
    fn measure(&mut self) {
        let known = self.progress.borrow().written;
        match self.log.measure(known) {
            Ok(written) if written > known => {
                self.progress
                    .send_modify(|progress| progress.written = written);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(step = %self.record.step.id, %error, "measure a step's log");
            }
        }
    }

    /// The holder is gone: either it has told how the step ended, or the step is lost.
    async fn holder_ended(&mut self) {
        let told = match read_outcome(&self.dir) {
            Ok(Some(outcome)) if !is_lost(&outcome) => return self.announce(outcome),
            Ok(told) => told,
            Err(error) => Some(
                self.record
                    .lost(format!("its outcome can't be read: {error}")),
            ),
        };
        self.measure();
        let (dir, record) = (self.dir.clone(), self.record.clone());
        let lost = tokio::task::spawn_blocking(move || record.lose(&dir, told)).await;
        let mut outcome = lost.unwrap_or_else(|failed| self.record.lost(failed.to_string()));
        outcome.log_end = self.progress.borrow().written;
        self.announce(outcome);
    }

    fn announce(&self, outcome: StepOutcome) {
        self.progress.send_replace(Progress {
            written: outcome.log_end,
            ended: true,
        });
        self.outcome.send_replace(Some(outcome));
    }
}

fn ended_when_readable(process: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    #[expect(
        unsafe_code,
        reason = "tokio leaves it to its caller that the descriptor stays open"
    )]
    // SAFETY: what owns the descriptor is moved in, and a shared one is not replaced.
    let registered = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
    Ok(registered?)
}

/// The holder says so only of its own failure; its host has to end what is left.
pub(super) fn is_lost(outcome: &StepOutcome) -> bool {
    matches!(outcome.status, StepStatus::Lost { .. })
}
