//! The directory of all local machines of this user: a [`Folder`] each.
//!
//! It is the same for all runners and all deployments, so that whoever looks
//! finds all. What a machine was is kept for a while after its end, as clouds
//! do it: a replayed launch finds the same machine, and its end can be told.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lite_engine::supervisor::{Folder, Record};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use vmpool_core::MachineId;

use crate::error::LocalError;

/// So begins each machine's id.
const PREFIX: &str = "local-";

/// Hexadecimal digits after the prefix.
const DIGITS: usize = 16;

/// So begins the name of a folder that is being made, or of a disk that is being removed.
const UNFINISHED: &str = ".new-";

/// How long the folder of a machine that has ended is kept.
const KEPT_FOR: Duration = Duration::from_hours(1);

/// How many of them are kept at most.
const KEPT: usize = 256;

/// Whatever is unfinished for this long has no maker any more.
const UNFINISHED_FOR: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    /// Where it is unless a program says otherwise. Not in `TMPDIR` or
    /// `XDG_RUNTIME_DIR`: these differ between two shells of one user, and the
    /// latter is small and ends with the session.
    pub(crate) fn usual() -> PathBuf {
        PathBuf::from(format!("/tmp/vmpool-{}", geteuid()))
    }

    /// Opens it, made if need be; refuses one that somebody else may have laid out.
    pub(crate) fn open(path: &Path) -> Result<Self, LocalError> {
        let failed = |source| LocalError::Root {
            path: path.to_owned(),
            source,
        };
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(failed)?,
        }
        // Not through a link, which its owner could point elsewhere at any time.
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path);
        let found = dir.and_then(|dir| dir.metadata()).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let parent = path.parent().unwrap_or(&path);
        let parent = fs::metadata(parent).map_err(failed)?;
        match flaw(found.uid(), geteuid().as_raw(), found.mode(), parent.mode()) {
            Some(reason) => Err(LocalError::Unsafe { path, reason }),
            None => Ok(Self { path }),
        }
    }

    /// The machine's folder; `None` for an id that no local machine has.
    pub(crate) fn folder(&self, id: &MachineId) -> Option<Folder> {
        is_ours(id.as_str()).then(|| Folder::at(self.path.join(id.as_str())))
    }

    /// Makes the machine's folder, locked; `None` if it exists already. Of all
    /// who try at once, in whatever process, one gets it.
    pub(crate) fn create(
        &self,
        id: &MachineId,
        record: &Record,
    ) -> io::Result<Option<(Folder, File)>> {
        let unfinished = self.unfinished();
        let (folder, lock) = Folder::create(&unfinished, record)?;
        let finished = self.path.join(id.as_str());
        // A directory replaces none that has something in it, and each folder has its record.
        match fs::rename(&unfinished, &finished) {
            Ok(()) => Ok(Some((Folder::at(finished), lock))),
            Err(error) => {
                folder.remove()?;
                let taken = matches!(
                    error.kind(),
                    ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                );
                if taken { Ok(None) } else { Err(error) }
            }
        }
    }

    /// All machines that have a folder.
    pub(crate) fn machines(&self) -> io::Result<Vec<MachineId>> {
        let names = self.names()?;
        Ok(names
            .iter()
            .filter(|name| is_ours(name))
            .map(|name| name.as_str().into())
            .collect())
    }

    /// Removes the disk of a machine that has ended, where its supervisor could
    /// not: it was killed.
    pub(crate) fn clear(&self, id: &MachineId) {
        let Some(folder) = self.folder(id) else {
            return;
        };
        // Out of the way first, and all at once: the folder need not be held
        // for as long as it takes, so nobody thinks meanwhile that it is alive.
        let aside = self.unfinished();
        let cleared = match fs::rename(folder.state_dir(), &aside) {
            Ok(()) => Folder::at(aside).remove(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = cleared {
            tracing::warn!(machine = %id, %error, "the disk of a machine that ended stays");
        }
    }

    /// Forgets machines that ended long ago, and what was never finished.
    /// `ended` names machines that nobody holds.
    pub(crate) fn prune(&self, ended: &HashSet<MachineId>) -> io::Result<()> {
        let now = SystemTime::now();
        let mut old: Vec<(Duration, Folder)> = Vec::new();
        for name in self.names()? {
            let unfinished = name.starts_with(UNFINISHED);
            if !unfinished && !ended.contains(name.as_str()) {
                continue;
            }
            let path = self.path.join(&name);
            // Gone meanwhile: another runner prunes too.
            let Ok(changed) = fs::metadata(&path).and_then(|found| found.modified()) else {
                continue;
            };
            let age = now.duration_since(changed).unwrap_or_default();
            if !unfinished || age > UNFINISHED_FOR {
                old.push((age, Folder::at(path)));
            }
        }
        old.sort_by_key(|(age, _)| *age);
        for (place, (age, folder)) in old.iter().enumerate() {
            let forgotten = place >= KEPT || *age > KEPT_FOR;
            if forgotten && let Some(_lock) = folder.try_lock()? {
                folder.remove()?;
            }
        }
        Ok(())
    }

    /// The path of something that is being made, or removed.
    fn unfinished(&self) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{UNFINISHED}{}-{number}", std::process::id());
        self.path.join(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }
}

/// What is wrong with a directory of `owner` and `mode` for the user `me`.
fn flaw(owner: u32, me: u32, mode: u32, parent_mode: u32) -> Option<String> {
    if owner != me {
        return Some(format!("it belongs to user {owner}"));
    }
    if mode & 0o077 != 0 {
        return Some(format!("its mode is {:o}, not 700", mode & 0o7777));
    }
    // Anybody may write there, and the sticky bit does not keep them from renaming it.
    let replaceable = parent_mode & 0o002 != 0 && parent_mode & 0o1000 == 0;
    replaceable.then(|| "anybody may put another in its place".into())
}

/// The id of a local machine, from a number that no other machine has.
pub(crate) fn machine_id(number: u64) -> MachineId {
    MachineId::new(format!("{PREFIX}{number:016x}"))
}

fn is_ours(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == DIGITS
            && digits
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_of_this_user_alone_has_no_flaw() {
        let sticky = 0o41_777;
        assert_eq!(flaw(7, 7, 0o40_700, sticky), None);
        assert_eq!(flaw(7, 7, 0o40_700, 0o40_755), None);
        assert!(
            flaw(8, 7, 0o40_700, sticky)
                .expect("refused")
                .contains("user 8")
        );
        assert!(
            flaw(7, 7, 0o40_750, sticky)
                .expect("refused")
                .contains("750")
        );
        assert!(flaw(7, 7, 0o40_700, 0o40_777).is_some());
    }

    #[test]
    fn an_id_that_is_a_path_is_not_ours() {
        assert!(is_ours(machine_id(0xab).as_str()));
        for id in [
            "",
            "local-",
            "local-../../../../x",
            "local-ABABABABABABABAB",
            "i-0123456789abcdef",
        ] {
            assert!(!is_ours(id), "{id}");
        }
    }
}
