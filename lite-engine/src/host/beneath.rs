//! Creates directories and files beneath a base directory, without ever
//! following a symbolic link or `..` out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

const DIR: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC);

/// Why a path leads nowhere safe, if it does not lead downwards: from `/`, or
/// from where a relative one begins.
pub(super) fn check(path: &Path) -> Result<(), &'static str> {
    let mut parts = path
        .strip_prefix("/")
        .unwrap_or(path)
        .components()
        .peekable();
    if parts.peek().is_none() {
        return Err("is empty");
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("contains a NUL character");
    }
    if parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        Ok(())
    } else {
        Err("leads out of its directory")
    }
}

/// Is told of everything before it comes to be.
pub(super) trait Creates {
    /// Something will be created at `path`, where there is nothing. An error stops the creation.
    fn creates(&mut self, path: &Path) -> io::Result<()>;
}

/// A directory to create things beneath.
pub(super) struct Beneath<'a> {
    pub(super) base: &'a Path,
    pub(super) creates: &'a mut dyn Creates,
}

impl Beneath<'_> {
    /// Writes a file, a new one in the place of an earlier one.
    pub(super) fn write(&mut self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        let parts = normal_parts(path);
        let (name, parents) = parts.split_last().ok_or(Errno::EINVAL)?;
        let (dir, at) = self.dir(parents)?;
        match unlinkat(&dir, *name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOENT) => self.creates.creates(&at.join(name))?,
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&dir, *name, flags, Mode::from_bits_truncate(0o600))?);
        file.write_all(content)?;
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        Ok(())
    }

    /// Makes sure that a directory is there.
    pub(super) fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        self.dir(&normal_parts(path)).map(drop)
    }

    /// Makes a directory with these permissions; one that is there gets them, too.
    pub(super) fn make_dir_with(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let (dir, _) = self.dir(&normal_parts(path))?;
        Ok(fchmod(&dir, Mode::from_bits_truncate(mode))?)
    }

    fn dir(&mut self, parts: &[&OsStr]) -> io::Result<(OwnedFd, PathBuf)> {
        let mut dir = open(self.base, DIR, Mode::empty())?;
        let mut at = self.base.to_owned();
        for part in parts {
            at.push(part);
            if fstatat(&dir, *part, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT) {
                self.creates.creates(&at)?;
                mkdirat(&dir, *part, Mode::from_bits_truncate(0o700))?;
            }
            dir = openat(&dir, *part, DIR | OFlag::O_NOFOLLOW, Mode::empty())?;
        }
        Ok((dir, at))
    }
}

fn normal_parts(path: &Path) -> Vec<&OsStr> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}
