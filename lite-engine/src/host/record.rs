//! The record of a step, written before the step may be executed, and what is
//! made of it when the step's holder is gone.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use vmpool_core::agent::StepRecord;
use vmpool_core::{Clock, StepOutcome, StepStatus};

use super::leftovers;
use crate::holder::{COMPLAINTS, write_atomically, write_result};
use crate::log::StepLog;
use crate::process::ProcessId;

const STARTED: &str = "started";

/// How much of a holder's complaint is told, in characters.
const COMPLAINT_MAX: usize = 500;

/// What has to be known of a step after a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) step: StepRecord,
    /// None for a step that never had a process.
    pub(super) holder: Option<ProcessId>,
    pub(super) segment_bytes: u64,
}

impl Record {
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        write_atomically(dir, STARTED, &serde_json::to_vec(self)?)
    }

    /// The record in a step's directory; `None` means that the step was never executed.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(STARTED)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A handle on the holder's process, if it lives.
    pub(super) fn find_holder(&self) -> io::Result<Option<OwnedFd>> {
        let Some(holder) = self.holder else {
            return Ok(None);
        };
        let pid = Pid::from_raw(holder.pid).ok_or_else(|| io::Error::other("pid 0"))?;
        match pidfd_open(pid, PidfdFlags::empty()) {
            // The pid may have come to another process since.
            Ok(handle) => Ok(holder.is_alive().then_some(handle)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The outcome of a step that has no process, and never will.
    pub(super) fn over(&self, status: StepStatus) -> StepOutcome {
        StepOutcome {
            status,
            started_at: self.step.started_at,
            ended_at: Clock::system().now(),
            log_end: 0,
        }
    }

    /// The outcome of a step whose end nobody saw.
    pub(super) fn lost(&self, reason: String) -> StepOutcome {
        self.over(StepStatus::Lost { reason })
    }

    /// Ends what is left of a step whose holder is gone, and writes its
    /// outcome: the one that was `told`, or that it is lost. Blocks for as long
    /// as processes take to die.
    pub(super) fn lose(&self, dir: &Path, told: Option<StepOutcome>) -> StepOutcome {
        let mut outcome = told.unwrap_or_else(|| self.lost(why_gone(dir)));
        let ended = self
            .holder
            .map_or(Ok(()), |holder| leftovers::end(dir, holder));
        if let (StepStatus::Lost { reason }, Err(error)) = (&mut outcome.status, ended) {
            *reason = format!("{reason}; ending what was left failed: {error}");
        }
        let log = StepLog::new(dir, self.segment_bytes);
        outcome.log_end = log.measure_anew().unwrap_or(outcome.log_end);
        if let Err(error) = write_result(dir, &outcome) {
            tracing::error!(step = %self.step.id, %error, "write that a step is lost");
        }
        outcome
    }
}

/// What can be said of a holder that ended without a word, or with one.
fn why_gone(dir: &Path) -> String {
    let complaint = fs::read(dir.join(COMPLAINTS)).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&complaint);
    match complaint.trim() {
        "" => "its holder was killed".into(),
        said => format!(
            "its holder failed: {}",
            said.chars().take(COMPLAINT_MAX).collect::<String>()
        ),
    }
}
