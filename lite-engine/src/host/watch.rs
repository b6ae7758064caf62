//! Watches the steps: what their holders write, and whether they live.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use vmpool_core::agent::StepRecord;
use vmpool_core::{Clock, StepOutcome, StepStatus};

use super::start::file_name;
use super::step::RunningStep;
use super::{Shared, leftovers};
use crate::limits::Left;
use crate::log::{Progress, StepLog};
use crate::process::ProcessId;
use crate::records::Entry;

/// How much of a holder's complaint is told, in characters.
const COMPLAINT_MAX: usize = 500;

/// Somebody's process, by a handle that stays its own.
pub(super) type Process = Arc<OwnedFd>;

/// A handle on this process, if it lives.
pub(super) fn find(process: ProcessId) -> io::Result<Option<Process>> {
    let pid = Pid::from_raw(process.pid).ok_or_else(|| io::Error::other("pid 0"))?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The pid may have come to another process since.
        Ok(handle) => Ok(process.is_alive().then(|| Arc::new(handle))),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl Shared {
    /// A step that runs, and is watched from now on.
    pub(super) fn watch(
        self: &Arc<Self>,
        record: StepRecord,
        log: StepLog,
        holder: ProcessId,
        process: Process,
    ) -> io::Result<RunningStep> {
        let progress = Progress {
            written: log.measure(log.begin())?,
            ended: false,
        };
        let handle = Arc::downgrade(&process);
        let gone = ended_when_readable(process)?;
        let closing = self.closing.clone();
        let step = RunningStep::new(record, log, progress, None, handle, closing.clone());
        let watched = self.clone().watch_holder(step.clone(), holder, gone);
        self.watchers
            .spawn(closing.run_until_cancelled_owned(watched));
        Ok(step)
    }

    /// Waits for holders that say: look.
    pub(super) async fn watch_wakes(self: Arc<Self>, mut wakes: pipe::Receiver) {
        let mut bytes = [0; 4096];
        // The host holds the other end too, so there is no end of it.
        while wakes.read(&mut bytes).await.is_ok_and(|count| count > 0) {
            self.look();
        }
    }

    /// Takes in what the holders have written.
    pub(super) fn look(&self) {
        let running: Vec<RunningStep> = {
            let mut table = self.table.lock();
            table.read_news();
            table
                .steps
                .values()
                .filter(|step| !step.is_over())
                .cloned()
                .collect()
        };
        for step in running {
            // The outcome before the log: what was written before it is in the log.
            let outcome = self.table.lock().told.get(step.id()).cloned();
            step.measure();
            // A holder says `Lost` only of its own failure; what it left has to be ended.
            if let Some(outcome) = outcome.filter(|outcome| !is_lost(outcome)) {
                step.announce(&outcome);
            }
        }
    }

    async fn watch_holder(
        self: Arc<Self>,
        step: RunningStep,
        holder: ProcessId,
        gone: AsyncFd<Process>,
    ) {
        if let Err(error) = gone.readable().await {
            // The runtime ends; the next agent goes on.
            return tracing::debug!(step = %step.id(), %error, "stopped watching a holder");
        }
        self.look();
        if step.is_over() {
            return;
        }
        let shared = self.clone();
        let record = step.record().clone();
        let lost = tokio::task::spawn_blocking(move || shared.lose(&record, holder)).await;
        step.measure();
        let mut outcome =
            lost.unwrap_or_else(|failed| lost_step(step.record(), &failed.to_string()));
        outcome.log_end = step.log_end();
        self.record(&Entry::Settled {
            step: step.record().clone(),
            outcome: outcome.clone(),
        });
        step.announce(&outcome);
    }

    /// Ends what is left of a step whose holder is gone without an outcome that
    /// counts. Blocks for as long as processes take to die.
    pub(super) fn lose(&self, record: &StepRecord, holder: ProcessId) -> StepOutcome {
        let told = self.table.lock().told.get(&record.id).cloned();
        let mut outcome = told.unwrap_or_else(|| lost_step(record, &self.why_gone()));
        let ended = Left::of(&self.config.dir, &file_name(&record.id)).and_then(|group| {
            leftovers::end(&self.mark(&record.id), holder, &group)?;
            group.remove()
        });
        if let (StepStatus::Lost { reason }, Err(error)) = (&mut outcome.status, ended) {
            *reason = format!("{reason}; ending what was left failed: {error}");
        }
        outcome
    }

    /// Writes an entry that is not needed for what follows.
    pub(super) fn record(&self, entry: &Entry) {
        if let Err(error) = self.records.add(entry) {
            tracing::error!(%error, "write down how a step ended");
        }
    }

    /// What can be said of a holder that ended without a word, or with one.
    fn why_gone(&self) -> String {
        let complaints = fs::read(self.complaints_file()).unwrap_or_default();
        let mut table = self.table.lock();
        let new = complaints.get(table.complaints_read..).unwrap_or_default();
        let complaint = String::from_utf8_lossy(new);
        let why = match complaint.trim() {
            "" => "its holder was killed".into(),
            said => {
                let said: String = said.chars().take(COMPLAINT_MAX).collect();
                format!("its holder failed: {said}")
            }
        };
        table.complaints_read = complaints.len();
        why
    }
}

pub(super) fn is_lost(outcome: &StepOutcome) -> bool {
    matches!(outcome.status, StepStatus::Lost { .. })
}

pub(super) fn lost_step(record: &StepRecord, reason: &str) -> StepOutcome {
    StepOutcome {
        status: StepStatus::Lost {
            reason: reason.to_owned(),
        },
        started_at: record.started_at,
        ended_at: Clock::system().now(),
        log_end: 0,
    }
}

fn ended_when_readable(process: Process) -> io::Result<AsyncFd<Process>> {
    #[expect(
        unsafe_code,
        reason = "tokio leaves it to its caller that the descriptor stays open"
    )]
    // SAFETY: what owns the descriptor is moved in, and a shared one is not replaced.
    let registered = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
    Ok(registered?)
}
