//! Ending processes that don't want to end (P10).
//!
//! First all are stopped, until no new one shows, and then all are killed: so
//! they can't fork faster than they are found. A process is held by a
//! descriptor before it is signalled, because its pid may soon be another's.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::process::{ProcessId, Stat};

/// How often new processes are looked for before the killing begins.
const PASSES: usize = 16;

/// How many of the killed are waited for, a descriptor each; the others don't take longer.
const WAITED_FOR: usize = 64;

/// Waits between two rounds of killing grow to this.
const SLOWEST: Duration = Duration::from_secs(1);

/// One certain process: no later one with its pid is taken for it.
#[derive(Debug)]
pub(super) struct Held {
    fd: OwnedFd,
}

impl Held {
    /// Holds the process; `None` if it is gone.
    pub(super) fn hold(process: ProcessId) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(process.pid) else {
            return Ok(None);
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // The descriptor is of whoever has the pid now: that must be the one meant.
        let same = Stat::read(process.pid).is_ok_and(|stat| stat.start == process.start);
        Ok(same.then_some(Self { fd }))
    }

    /// Signals it; one that has ended gets none.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Waits until all have ended, at most for `timeout`.
pub(super) fn wait(processes: &[Held], timeout: Duration) -> io::Result<()> {
    let until = Instant::now() + timeout;
    let mut left: Vec<&Held> = processes.iter().collect();
    loop {
        let timeout = until.saturating_duration_since(Instant::now());
        if left.is_empty() || timeout.is_zero() {
            return Ok(());
        }
        let mut ends: Vec<_> = left
            .iter()
            .map(|process| PollFd::new(&process.fd, PollFlags::IN))
            .collect();
        match poll(&mut ends, Timespec::try_from(timeout).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended: Vec<bool> = ends.iter().map(|end| !end.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        left.retain(|_| !ended.next().unwrap_or_default());
    }
}

/// Kills whatever `find` names, again and again until it names nothing. Returns
/// the pids of those that are there still after `until`; they belong to another
/// user, or hang in the kernel.
pub(super) fn purge(
    mut find: impl FnMut() -> io::Result<Vec<ProcessId>>,
    until: Instant,
) -> io::Result<Vec<i32>> {
    let mut pause = Duration::from_millis(20);
    loop {
        let stopped = stop_all(&mut find)?;
        let mut dying = Vec::new();
        for process in &stopped {
            let Some(process) = Held::hold(*process)? else {
                continue;
            };
            // One that is not ours to kill shows in what is returned.
            let _ = process.signal(Signal::KILL);
            if dying.len() < WAITED_FOR {
                dying.push(process);
            }
        }
        let time = until.saturating_duration_since(Instant::now());
        if stopped.is_empty() || time.is_zero() {
            return Ok(stopped.into_iter().map(|process| process.pid).collect());
        }
        wait(&dying, pause.min(time))?;
        pause = SLOWEST.min(pause * 2);
    }
}

/// Stops whatever `find` names until it names nobody new.
fn stop_all(
    find: &mut impl FnMut() -> io::Result<Vec<ProcessId>>,
) -> io::Result<HashSet<ProcessId>> {
    let mut stopped = HashSet::new();
    for _ in 0..PASSES {
        let before = stopped.len();
        for process in find()? {
            if stopped.insert(process)
                && let Some(process) = Held::hold(process)?
            {
                let _ = process.signal(Signal::STOP);
            }
        }
        if stopped.len() == before {
            break;
        }
    }
    Ok(stopped)
}
