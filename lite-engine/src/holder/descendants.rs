//! The processes of a step, as their sub-reaper sees them (P10).
//!
//! Whoever of them loses its parent becomes the holder's child, whatever
//! process group or session it went to. So it is enough to deal with the
//! direct children until there are none: the others follow when their parents
//! end. Process groups are signalled as a whole, which no fork escapes.

use std::collections::HashSet;
use std::io;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, getpgrp};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use vmpool_core::StepStatus;

use crate::process;

/// What reaping found.
pub(super) struct Reaped {
    /// How the main process ended, if it did just now.
    pub(super) main: Option<StepStatus>,
    /// No process is left.
    pub(super) none_left: bool,
}

/// Takes the exit status of every process that has ended.
pub(super) fn reap(main: Pid) -> io::Result<Reaped> {
    let mut ended = None;
    loop {
        // Not nix's: it has no name for real-time signals and loses their status.
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == main.as_raw() => {
                let signal = status
                    .terminating_signal()
                    .map(|signal| StepStatus::Signalled { signal });
                ended = status
                    .exit_status()
                    .map(|code| StepStatus::Exited { code })
                    .or(signal);
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => {
                return Ok(Reaped {
                    main: ended,
                    none_left: false,
                });
            }
            Err(Errno::CHILD) => {
                return Ok(Reaped {
                    main: ended,
                    none_left: true,
                });
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Asks each child once to end, its whole process group with it; `asked` remembers whom.
pub(super) fn terminate(asked: &mut HashSet<i32>) -> io::Result<()> {
    for child in process::children()? {
        if asked.insert(child) {
            signal(child, Signal::SIGTERM);
            // A stopped process would not see it.
            signal(child, Signal::SIGCONT);
        }
    }
    Ok(())
}

/// Ends each child, its whole process group with it.
pub(super) fn kill_all() -> io::Result<()> {
    for child in process::children()? {
        signal(child, Signal::SIGKILL);
    }
    Ok(())
}

/// Signals a child that was not reaped yet, so its pid is its own.
fn signal(child: i32, signal: Signal) {
    let child = Pid::from_raw(child);
    let group = getpgid(Some(child))
        .ok()
        .filter(|group| *group != getpgrp());
    let sent = group.map_or_else(|| kill(child, signal), |group| killpg(group, signal));
    // It ended by itself meanwhile, or it belongs to another user and stays.
    let _ = sent;
}
