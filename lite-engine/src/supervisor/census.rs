//! The processes of this host's machines, found by their mark.
//!
//! Marked is a process whose environment, as it began, names the machine, and a
//! supervisor, agent or holder by its arguments. To a machine belong its marked
//! processes and all their descendants.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vmpool_core::{MachineId, Tags};

use super::purge::{Held, purge, wait};
use super::{AGENT, MARK, SUPERVISOR, TAGS};
use crate::holder;
use crate::process::{self, ProcessId, Stat};

/// What `/proc` showed at one time.
#[derive(Debug)]
pub struct Census {
    processes: Vec<Stat>,
    marked: HashMap<MachineId, Vec<ProcessId>>,
    supervisors: Vec<Supervisor>,
}

/// A machine's supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor {
    /// Its machine.
    pub machine: MachineId,
    /// Its machine's tags, unless they can't be read.
    pub tags: Option<Tags>,
    process: ProcessId,
}

impl Census {
    /// Looks at all processes.
    pub fn take() -> io::Result<Self> {
        let processes = process::all()?;
        let mut census = Self {
            processes,
            marked: HashMap::new(),
            supervisors: Vec::new(),
        };
        for stat in census.processes.iter().filter(|stat| !stat.dead) {
            let process = ProcessId {
                pid: stat.pid,
                start: stat.start,
            };
            let Some(mark) = Mark::read(stat.pid) else {
                continue;
            };
            if mark.is_supervisor {
                let (machine, tags) = (mark.machine.clone(), mark.tags);
                census.supervisors.push(Supervisor {
                    machine,
                    tags,
                    process,
                });
            }
            census.marked.entry(mark.machine).or_default().push(process);
        }
        Ok(census)
    }

    /// Whether a process of the machine lives.
    pub fn has(&self, machine: &MachineId) -> bool {
        self.marked.contains_key(machine)
    }

    /// All supervisors.
    pub fn supervisors(&self) -> &[Supervisor] {
        &self.supervisors
    }

    /// The machine's processes.
    pub(super) fn of(&self, machine: &MachineId) -> Vec<ProcessId> {
        let marked = self
            .marked
            .get(machine)
            .map(Vec::as_slice)
            .unwrap_or_default();
        descendants(&self.processes, marked.iter().map(|process| process.pid))
            .filter(|stat| !stat.dead)
            .map(|stat| ProcessId {
                pid: stat.pid,
                start: stat.start,
            })
            .collect()
    }
}

impl Supervisor {
    /// Asks it to end its machine. One that has ended is not asked.
    pub fn ask(&self) -> io::Result<()> {
        let Some(process) = Held::hold(self.process)? else {
            return Ok(());
        };
        process.signal(Signal::TERM)?;
        // Somebody may have stopped it.
        process.signal(Signal::CONT)
    }
}

/// Waits until these supervisors have ended, at most for `timeout`.
pub fn await_supervisors<'a>(
    supervisors: impl IntoIterator<Item = &'a Supervisor>,
    timeout: Duration,
) -> io::Result<()> {
    let held: io::Result<Vec<_>> = supervisors
        .into_iter()
        .map(|supervisor| Held::hold(supervisor.process))
        .collect();
    wait(&held?.into_iter().flatten().collect::<Vec<_>>(), timeout)
}

/// Kills all processes of a machine, its supervisor too; this process is
/// spared. Returns the pids of those that are there still after `until`.
pub fn kill_machine(machine: &MachineId, until: Instant) -> io::Result<Vec<i32>> {
    let me = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    purge(
        || {
            let mut processes = Census::take()?.of(machine);
            processes.retain(|process| process.pid != me);
            Ok(processes)
        },
        until,
    )
}

/// The processes `roots` and whatever descends from them.
pub(super) fn descendants(
    processes: &[Stat],
    roots: impl IntoIterator<Item = i32>,
) -> impl Iterator<Item = &Stat> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for stat in processes {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let mut found = HashSet::new();
    let mut next: Vec<i32> = roots.into_iter().collect();
    while let Some(pid) = next.pop() {
        if found.insert(pid) {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    processes
        .iter()
        .filter(move |stat| found.contains(&stat.pid))
}

/// What marks a process.
struct Mark {
    machine: MachineId,
    is_supervisor: bool,
    tags: Option<Tags>,
}

impl Mark {
    /// Looks for it; a process of another user, or one that has just ended, shows none.
    fn read(pid: i32) -> Option<Self> {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Self::find(&arguments, || {
            fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
        })
    }

    fn find(arguments: &[u8], environment: impl FnOnce() -> Vec<u8>) -> Option<Self> {
        let mut arguments = arguments.split(|&byte| byte == 0).skip(1);
        let (role, subject) = (arguments.next(), arguments.next());
        let is = |what: &str| role == Some(what.as_bytes());
        let is_supervisor = is(SUPERVISOR);
        // A process that guards its memory does not show its environment.
        let named = subject.filter(|subject| {
            !subject.is_empty() && (is_supervisor || is(AGENT) || is(holder::ARGUMENT))
        });
        let environment = match named {
            Some(_) if !is_supervisor => Vec::new(),
            _ => environment(),
        };
        let variable = |name: &str| {
            environment
                .split(|&byte| byte == 0)
                .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        };
        let machine = named.or_else(|| variable(MARK))?;
        let machine = MachineId::parse(std::str::from_utf8(machine).ok()?).ok()?;
        let tags = variable(TAGS).filter(|_| is_supervisor);
        Some(Self {
            machine,
            is_supervisor,
            tags: tags.and_then(|tags| serde_json::from_slice(tags).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, parent: i32) -> Stat {
        Stat {
            pid,
            parent,
            session: 0,
            start: 0,
            dead: false,
        }
    }

    #[test]
    fn descendants_are_found_through_generations_and_in_any_order() {
        let processes = [stat(9, 7), stat(7, 5), stat(5, 1), stat(6, 1), stat(1, 0)];
        let mut found: Vec<_> = descendants(&processes, [7]).map(|stat| stat.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [7, 9]);
    }

    #[test]
    fn a_mark_is_an_argument_of_ours_or_a_variable_of_anybodys() {
        let found = |arguments: &str, environment: &str| {
            let mark = Mark::find(arguments.as_bytes(), || environment.as_bytes().to_vec())?;
            Some((mark.machine.to_string(), mark.is_supervisor))
        };
        let marked = |is_supervisor| Some(("m".to_owned(), is_supervisor));
        assert_eq!(found("vmpool\0supervise-machine\0m\0", ""), marked(true));
        assert_eq!(found("vmpool\0run-machine\0m\0", ""), marked(false));
        assert_eq!(found("vmpool\0hold-steps\0m\0", ""), marked(false));
        assert_eq!(
            found("sleep\0 1\0", "A=b\0VMPOOL_MACHINE=m\0"),
            marked(false)
        );
        assert_eq!(
            found("vmpool\0hold-steps\0", "VMPOOL_MACHINE=m\0"),
            marked(false)
        );
        assert_eq!(found("grep\0x\0m\0", "VMPOOL_MACHINE_TAGS={}\0"), None);
        assert_eq!(found("", ""), None);
    }
}
