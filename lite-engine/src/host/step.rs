//! One step as the host sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vmpool_core::agent::StepRecord;
use vmpool_core::{StepId, StepOutcome};

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
pub struct RunningStep(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    record: StepRecord,
    log: Arc<StepLog>,
    progress: watch::Sender<Progress>,
    outcome: watch::Sender<Option<StepOutcome>>,
    /// The holder, as long as somebody waits for its end.
    holder: Weak<OwnedFd>,
    closing: CancellationToken,
}

impl RunningStep {
    /// A step that runs under `holder`, or is over where that is nobody.
    pub(super) fn new(
        record: StepRecord,
        log: StepLog,
        progress: Progress,
        outcome: Option<StepOutcome>,
        holder: Weak<OwnedFd>,
        closing: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            record,
            log: Arc::new(log),
            progress: watch::channel(progress).0,
            outcome: watch::channel(outcome).0,
            holder,
            closing,
        }))
    }

    /// The step's id.
    pub fn id(&self) -> &StepId {
        &self.0.record.id
    }

    /// What it was recorded as before it began.
    pub fn record(&self) -> &StepRecord {
        &self.0.record
    }

    /// How the step ended, if it is over.
    pub fn outcome(&self) -> Option<StepOutcome> {
        self.0.outcome.borrow().clone()
    }

    /// The step is over.
    pub fn is_over(&self) -> bool {
        self.0.outcome.borrow().is_some()
    }

    /// Waits until the step is over.
    ///
    /// # Cancel safety
    /// Cancelling stops waiting and nothing else.
    pub async fn wait(&self) -> Result<StepOutcome, WaitError> {
        let mut outcome = self.0.outcome.subscribe();
        tokio::select! {
            biased;
            ended = outcome.wait_for(Option::is_some) => ended.ok().and_then(|ended| ended.clone()),
            () = self.0.closing.cancelled() => None,
        }
        .ok_or(WaitError)
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
        let progress = self.0.progress.subscribe();
        LogReader::new(self.0.log.clone(), progress, self.0.closing.clone(), offset)
    }

    /// Where the log begins: what was before was released.
    pub fn log_begin(&self) -> u64 {
        self.0.log.begin()
    }

    /// Bytes in the log so far.
    pub fn log_end(&self) -> u64 {
        self.0.progress.borrow().written
    }

    /// Shows the readers what was added to the log meanwhile.
    pub(super) fn measure(&self) {
        let known = self.log_end();
        match self.0.log.measure(known) {
            Ok(written) if written > known => {
                self.0.progress.send_modify(|progress| {
                    progress.written = progress.written.max(written);
                });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(step = %self.id(), %error, "measure a step's log"),
        }
    }

    /// Tells everybody that the step is over, and how. The first word counts.
    pub(super) fn announce(&self, outcome: &StepOutcome) {
        self.0.outcome.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                // Before the end: who learns of that finds the log whole.
                let whole = Progress {
                    written: outcome.log_end,
                    ended: true,
                };
                self.0.progress.send_replace(whole);
                *told = Some(outcome.clone());
            }
            first
        });
    }

    pub(super) fn release_log(&self, taken: u64) -> io::Result<bool> {
        let progress = *self.0.progress.borrow();
        self.0.log.release(taken, progress)
    }

    pub(super) fn log_space_came_free(&self) {
        // A holder that is gone needs no space.
        let _ = self.signal(Signal::USR1);
    }

    /// Ends the holder, whatever it does; the host then ends the rest.
    pub(super) fn kill_holder(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(holder) = self.0.holder.upgrade() else {
            return Ok(());
        };
        match pidfd_send_signal(holder, signal) {
            Err(errno) if errno != Errno::SRCH => Err(errno.into()),
            _ => Ok(()),
        }
    }
}
