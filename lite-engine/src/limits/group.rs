//! The group of one step, as its holder has it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use vmpool_core::{Limits, StepStatus};

use super::left::remove;
use super::places::{Place, Places};
use super::{GROUPS, name};

/// A step's group, in one tree or in several. One without limits is in none.
#[derive(Debug, Default)]
pub(crate) struct Group {
    limits: Limits,
    /// Its directories.
    dirs: Vec<PathBuf>,
    /// Counts processes that were killed for want of memory.
    memory: Option<PathBuf>,
    /// Counts processes that could not be made.
    processes: Option<PathBuf>,
    /// Limits that could not be applied, and why.
    refused: Vec<String>,
}

impl Group {
    /// Makes the group of the step that is called `step` in files of the
    /// directory `host`, as far as that can be done.
    pub(crate) fn make(limits: Limits, host: &Path, step: &str) -> Self {
        let mut group = Self {
            limits,
            ..Self::default()
        };
        if limits.is_none() {
            return group;
        }
        let places = Places::find().unwrap_or_else(|error| {
            group.refused.push(format!("find groups: {error}"));
            Places::default()
        });
        let mut maker = Maker {
            name: name(host, step),
            list: host.join(GROUPS),
            dirs: Vec::new(),
        };
        if let Some(bytes) = limits.memory {
            group.memory = maker
                .memory(places.memory, bytes)
                .map_err(|why| group.refuse("memory", bytes, &why))
                .ok();
        }
        if let Some(most) = limits.processes {
            group.processes = maker
                .processes(places.processes, most)
                .map_err(|why| group.refuse("processes", most, &why))
                .ok();
        }
        if let Some(place) = places.killing {
            // Without it the step's processes are killed one by one.
            let _ = maker.dir(&place);
        }
        group.dirs = maker.dirs;
        group
    }

    fn refuse(&mut self, what: &str, limit: u64, why: &io::Error) {
        self.refused
            .push(format!("limit of {limit} for {what} not applied: {why}"));
    }

    /// Puts a process in, and so whatever it makes.
    pub(crate) fn add(&mut self, process: Pid) {
        let mut failed = None;
        for dir in &self.dirs {
            let added = fs::write(dir.join("cgroup.procs"), process.to_string());
            let counts = |file: &Option<PathBuf>| file.as_ref().is_some_and(|f| f.starts_with(dir));
            match added {
                Err(error) if counts(&self.memory) || counts(&self.processes) => {
                    failed = Some(format!("limits not applied: {}: {error}", dir.display()));
                }
                _ => {}
            }
        }
        self.refused.extend(failed);
    }

    /// What the step's log is to say before anything else.
    pub(crate) fn refused(&self) -> &[String] {
        &self.refused
    }

    /// How the step ended, whose main process ended so.
    pub(crate) fn judge(&self, status: StepStatus) -> StepStatus {
        let failed = !status.is_success()
            && matches!(
                status,
                StepStatus::Exited { .. } | StepStatus::Signalled { .. }
            );
        if failed && self.killed() > 0 {
            return StepStatus::OutOfMemory;
        }
        status
    }

    /// What the step's log is to say at its end.
    pub(crate) fn remarks(&self) -> String {
        let (killed, refused) = (self.killed(), self.forks_refused());
        let memory = self.limits.memory.filter(|_| killed > 0).map(|bytes| {
            format!(
                "\nkilled at this step's limit of {bytes} bytes of memory: {killed} processes\n"
            )
        });
        let processes = self.limits.processes.filter(|_| refused > 0).map(|most| {
            format!("\nnot made at this step's limit of {most} processes: {refused}\n")
        });
        memory.into_iter().chain(processes).collect()
    }

    fn killed(&self) -> u64 {
        count(self.memory.as_deref(), "oom_kill ")
    }

    fn forks_refused(&self) -> u64 {
        count(self.processes.as_deref(), "max ")
    }

    /// Kills all that is in the group, where groups can be killed as a whole.
    pub(crate) fn kill(&self) {
        for dir in &self.dirs {
            super::left::kill(dir);
        }
    }

    /// Removes the group, in which no process is left.
    pub(crate) fn remove(self) {
        for dir in &self.dirs {
            // Whoever cleans up tries it again.
            let _ = remove(dir);
        }
    }
}

/// The number behind these words.
fn count(file: Option<&Path>, words: &str) -> u64 {
    let text = file.and_then(|file| fs::read_to_string(file).ok());
    let text = text.unwrap_or_default();
    let number = text.lines().find_map(|line| line.strip_prefix(words));
    number
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// Makes a group's directories.
struct Maker {
    name: String,
    list: PathBuf,
    dirs: Vec<PathBuf>,
}

impl Maker {
    /// The file that counts what the limit did.
    fn memory(&mut self, place: Option<Place>, bytes: u64) -> io::Result<PathBuf> {
        let bytes = bytes.to_string();
        match place.ok_or_else(no_controller)? {
            Place::New(place) => {
                let dir = self.dir(&place)?;
                set(&dir, "memory.max", &bytes)?;
                if_there(set(&dir, "memory.swap.max", "0"))?;
                Ok(dir.join("memory.events"))
            }
            Place::Old(place) => {
                let dir = self.dir(&place)?;
                set(&dir, "memory.limit_in_bytes", &bytes)?;
                // Memory and disk together: after the other, because it may not be less.
                if_there(set(&dir, "memory.memsw.limit_in_bytes", &bytes))?;
                Ok(dir.join("memory.oom_control"))
            }
        }
    }

    fn processes(&mut self, place: Option<Place>, most: u64) -> io::Result<PathBuf> {
        let (Place::New(place) | Place::Old(place)) = place.ok_or_else(no_controller)?;
        let dir = self.dir(&place)?;
        set(&dir, "pids.max", &most.to_string())?;
        Ok(dir.join("pids.events"))
    }

    /// The group's directory in this place.
    fn dir(&mut self, place: &Path) -> io::Result<PathBuf> {
        let dir = place.join(&self.name);
        if self.dirs.contains(&dir) {
            return Ok(dir);
        }
        let mut line = serde_json::to_vec(&dir)?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        let mut list = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.list)?;
        list.write_all(&line)?;
        fs::create_dir(&dir)
            .map_err(|error| io::Error::other(format!("create {}: {error}", dir.display())))?;
        self.dirs.push(dir.clone());
        Ok(dir)
    }
}

fn no_controller() -> io::Error {
    io::Error::new(ErrorKind::Unsupported, "this system can't limit it")
}

fn set(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = dir.join(file);
    let written = File::options()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    written
        .map_err(|error| io::Error::new(error.kind(), format!("write {}: {error}", path.display())))
}

/// A setting that not every kernel has.
fn if_there(set: io::Result<()>) -> io::Result<()> {
    match set {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        set => set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as the kernel has them in a group of the new tree.
    fn new_group(host: &Path, place: &Path) -> (Maker, PathBuf) {
        let maker = Maker {
            name: name(host, "step"),
            list: host.join(GROUPS),
            dirs: Vec::new(),
        };
        let dir = place.join(&maker.name);
        (maker, dir)
    }

    #[test]
    fn a_group_is_written_down_before_it_is_made() {
        let host = tempfile::TempDir::new().expect("a temporary folder");
        let nowhere = host.path().join("nowhere");
        let (mut maker, dir) = new_group(host.path(), &nowhere);
        maker.dir(&nowhere).expect_err("nothing to make it in");
        let listed = fs::read_to_string(host.path().join(GROUPS)).expect("a list");
        assert_eq!(listed.trim(), format!("\"{}\"", dir.display()));
    }

    #[test]
    fn what_the_kernel_counted_is_read_in_both_trees() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let file = folder.path().join("counted");
        for (text, expected) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
            (
                "low 0\nhigh 0\nmax 7\noom 3\noom_kill 1\noom_group_kill 0\n",
                1,
            ),
            ("", 0),
        ] {
            fs::write(&file, text).expect("written");
            assert_eq!(count(Some(&file), "oom_kill "), expected);
        }
        assert_eq!(count(None, "oom_kill "), 0);
    }

    #[test]
    fn a_system_without_controllers_refuses_limits_in_words() {
        let mut group = Group::default();
        let why = no_controller();
        group.refuse("memory", 5, &why);
        assert_eq!(
            group.refused(),
            ["limit of 5 for memory not applied: this system can't limit it"]
        );
    }
}
