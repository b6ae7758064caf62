//! Ends the processes of a step whose holder is gone (P10).
//!
//! The holder was their sub-reaper and can't tell any more who they are. They
//! are found by the mark in their environment, by the holder's session, by the
//! group of a step with limits, and by descent from any of these. A process that
//! shed all of them is out of reach.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::limits::Left;
use crate::process::{self, ProcessId, Stat};

/// The variable in the environment of every process of a step; its value names
/// the host and the step.
pub(super) const MARK: &str = "VMPOOL_STEP";

/// After this long we stop waiting for processes that don't end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// Kills all that is left of the step that has this mark and this group and
/// which `holder` held, and waits until it is gone.
pub(super) fn end(mark: &str, holder: ProcessId, group: &Left) -> io::Result<()> {
    let mark = format!("{MARK}={mark}").into_bytes();
    let give_up_at = Instant::now() + GIVE_UP_AFTER;
    loop {
        let left = find(&mark, holder, group)?;
        if left.is_empty() {
            return Ok(());
        }
        let remaining = give_up_at.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            let pids: Vec<i32> = left.iter().map(|process| process.pid).collect();
            return Err(io::Error::other(format!("processes {pids:?} do not end")));
        }
        // New ones may be forked until the last is dead, so we look again.
        await_all(&left.iter().filter_map(kill).collect::<Vec<_>>(), remaining)?;
    }
}

fn find(mark: &[u8], holder: ProcessId, group: &Left) -> io::Result<Vec<Stat>> {
    let living: Vec<Stat> = process::all()?
        .into_iter()
        .filter(|process| !process.dead)
        .collect();
    let of_session =
        |process: &Stat| process.session == holder.pid && process.start >= holder.start;
    let mut ours: HashSet<i32> = living
        .iter()
        .filter(|process| of_session(process) || has_mark(process.pid, mark))
        .map(|process| process.pid)
        .chain(group.processes())
        .collect();
    loop {
        let known = ours.len();
        ours.extend(
            living
                .iter()
                .filter(|p| ours.contains(&p.parent))
                .map(|p| p.pid)
                .collect::<Vec<_>>(),
        );
        if ours.len() == known {
            return Ok(living
                .into_iter()
                .filter(|process| ours.contains(&process.pid))
                .collect());
        }
    }
}

fn has_mark(pid: i32, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|&byte| byte == 0)
        .any(|variable| variable == mark)
}

/// Kills the process, unless its pid went to another; a handle to wait for its end.
fn kill(process: &Stat) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    let same = Stat::read(process.pid).is_ok_and(|now| now.start == process.start);
    (same && pidfd_send_signal(&handle, Signal::KILL).is_ok()).then_some(handle)
}

fn await_all(processes: &[OwnedFd], wait: Duration) -> io::Result<()> {
    let until = Instant::now() + wait;
    for process in processes {
        let wait = until.saturating_duration_since(Instant::now());
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], wait)?;
    }
    Ok(())
}
