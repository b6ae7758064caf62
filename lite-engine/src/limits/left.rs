//! Groups whose holder is gone, found by what it wrote down.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

use super::{GROUPS, PREFIX, name};

/// The kernel lets go of a group a moment after its last process ended.
const BUSY: Duration = Duration::from_secs(2);
const PAUSE_MS: u8 = 10;

/// What may be left of a step's group.
#[derive(Debug)]
pub(crate) struct Left(Vec<PathBuf>);

impl Left {
    /// Of the step that is called `step` in files of the directory `host`.
    pub(crate) fn of(host: &Path, step: &str) -> io::Result<Self> {
        let name = name(host, step);
        let mut listed = listed(host)?;
        listed.retain(|dir| dir.file_name().is_some_and(|file| file == name.as_str()));
        Ok(Self(listed.into_iter().collect()))
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let files = self.0.iter().map(|dir| dir.join("cgroup.procs"));
        let texts = files.filter_map(|file| fs::read_to_string(file).ok());
        let pids = |text: String| {
            let pids = text.lines().filter_map(|line| line.parse().ok());
            pids.collect::<Vec<i32>>()
        };
        texts.flat_map(pids).collect()
    }

    /// Removes it, in which no process is left.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|dir| remove(dir))
    }
}

/// Kills whatever is in groups that steps of this host had, and removes these.
pub(crate) fn remove_all(host: &Path) -> io::Result<()> {
    for dir in listed(host)? {
        kill(&dir);
        remove(&dir)?;
    }
    Ok(())
}

fn listed(host: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let lines = match fs::read_to_string(host.join(GROUPS)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        read => read?,
    };
    // A torn line is that of a group that was not made.
    let dirs = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<PathBuf>(line).ok());
    let ours = |dir: &PathBuf| {
        let name = dir.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(PREFIX))
    };
    Ok(dirs.filter(ours).collect())
}

/// Kills all that is in a group, where the kernel can.
pub(super) fn kill(dir: &Path) {
    let _ = fs::OpenOptions::new()
        .write(true)
        .open(dir.join("cgroup.kill"))
        .and_then(|mut file| io::Write::write_all(&mut file, b"1"));
}

/// Removes a group; one that is gone is no error.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let give_up_at = Instant::now() + BUSY;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == ErrorKind::ResourceBusy && Instant::now() < give_up_at =>
            {
                poll(&mut [], PollTimeout::from(PAUSE_MS))?;
            }
            Err(error) => {
                let told = format!("remove {}: {error}", dir.display());
                return Err(io::Error::new(error.kind(), told));
            }
            Ok(()) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_ours_are_taken_for_ours() {
        let host = tempfile::TempDir::new().expect("a temporary folder");
        let other = host.path().join("system.slice");
        let ours = host.path().join(name(host.path(), "step"));
        fs::create_dir(&other).expect("created");
        fs::create_dir(&ours).expect("created");
        let lines = format!("{other:?}\n{ours:?}\n\"torn");
        fs::write(host.path().join(GROUPS), lines).expect("written");
        let left = Left::of(host.path(), "step").expect("read");
        assert_eq!(left.0, std::slice::from_ref(&ours));
        remove_all(host.path()).expect("removed");
        assert!(other.exists() && !ours.exists());
        remove_all(host.path()).expect("removed already");
    }
}
