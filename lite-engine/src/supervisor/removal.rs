//! Removing what a machine leaves on the disk, without harm to what is not its own.
//!
//! A build may have mounted something of the host into its workspace, and may
//! have left directories that even their owner may not enter.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

/// Removes a directory with all in it; one that does not exist is no error.
/// Nothing is removed as long as something is mounted below it that can't be
/// unmounted.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    unmount_below(dir)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_up(dir)?;
            fs::remove_dir_all(dir)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn unmount_below(dir: &Path) -> io::Result<()> {
    let table = fs::read("/proc/self/mountinfo")?;
    let below: Vec<PathBuf> = mount_points(&table)
        .filter(|point| point.starts_with(dir))
        .collect();
    // What was mounted last may be inside what was mounted before.
    for point in below.iter().rev() {
        unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(|errno| {
            io::Error::other(format!("{} is mounted there: {errno}", point.display()))
        })?;
    }
    Ok(())
}

/// The fifth field of each line, spaces and the like written as `\040`.
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

/// Lets the owner into every directory, without following links.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_nobody_may_enter_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = dir.path().join("disk");
        fs::create_dir_all(disk.join("a/b")).expect("made");
        fs::write(disk.join("a/b/file"), "x").expect("written");
        fs::set_permissions(disk.join("a/b"), Permissions::from_mode(0o000)).expect("closed");
        fs::set_permissions(disk.join("a"), Permissions::from_mode(0o500)).expect("closed");
        remove(&disk).expect("removed");
        assert!(!disk.exists());
        remove(&disk).expect("gone already is no error");
    }

    #[test]
    fn a_link_is_removed_and_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (disk, host) = (dir.path().join("disk"), dir.path().join("host"));
        fs::create_dir_all(&disk).expect("made");
        fs::create_dir_all(host.join("kept")).expect("made");
        std::os::unix::fs::symlink(&host, disk.join("link")).expect("linked");
        remove(&disk).expect("removed");
        assert!(host.join("kept").exists());
    }

    #[test]
    fn mount_points_are_read_with_their_spaces() {
        let table =
            b"22 27 0:21 / /proc rw - proc proc rw\n23 27 0:22 / /a\\040b\\134c rw - x x rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/proc"), PathBuf::from("/a b\\c")]);
    }
}
