//! What `/proc` tells of processes: who they are, whose children, in which session.
//!
//! A pid alone does not name a process for long; [`ProcessId`] does, because
//! it carries the start time.

use std::fs;
use std::io;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One process of this boot, told apart from later ones with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks from the boot to the start of the process.
    pub(crate) start: u64,
}

impl ProcessId {
    /// The process that has `pid` now.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let stat = Stat::read(pid.as_raw())?;
        Ok(Self {
            pid: stat.pid,
            start: stat.start,
        })
    }

    /// Whether the process has not ended.
    pub(crate) fn is_alive(self) -> bool {
        Stat::read(self.pid).is_ok_and(|stat| stat.start == self.start && !stat.dead)
    }
}

/// A line of `/proc/<pid>/stat`, as far as we need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    pub(crate) start: u64,
    /// It has ended and waits to be reaped.
    pub(crate) dead: bool,
}

impl Stat {
    pub(crate) fn read(pid: i32) -> io::Result<Self> {
        let line = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&line).ok_or_else(|| io::Error::other("an unknown form of /proc/<pid>/stat"))
    }

    fn parse(line: &[u8]) -> Option<Self> {
        // `pid (name) state parent group session …`; the name may hold anything.
        let name_end = line.iter().rposition(|&byte| byte == b')')?;
        let head =
            std::str::from_utf8(&line[..line.iter().position(|&byte| byte == b'(')?]).ok()?;
        let tail = std::str::from_utf8(&line[name_end + 1..]).ok()?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        Some(Self {
            pid: head.trim().parse().ok()?,
            dead: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

/// All processes that can be seen, those that end meanwhile left out.
pub(crate) fn all() -> io::Result<Vec<Stat>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        processes.extend(pid.and_then(|pid| Stat::read(pid).ok()));
    }
    Ok(processes)
}

/// The direct children of this process, which must have a single thread.
pub(crate) fn children() -> io::Result<Vec<i32>> {
    if let Ok(pids) = fs::read_to_string("/proc/thread-self/children") {
        return Ok(pids
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect());
    }
    // Some kernels are built without that file.
    let me = Pid::this().as_raw();
    let mine = all()?.into_iter().filter(|process| process.parent == me);
    Ok(mine.map(|process| process.pid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_confuse_the_fields() {
        let line = b"42 (a) b (c)) S 7 40 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9876 1 2";
        let stat = Stat::parse(line).expect("a stat line");
        let expected = Stat {
            pid: 42,
            parent: 7,
            session: 41,
            start: 9876,
            dead: false,
        };
        assert_eq!(stat, expected);
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let me = Pid::this().as_raw();
        let found = all()
            .expect("/proc")
            .into_iter()
            .find(|process| process.pid == me);
        assert_eq!(found.expect("this process").parent, Pid::parent().as_raw());
        assert_eq!(ProcessId::of(Pid::this()).expect("this process").pid, me);
    }
}
