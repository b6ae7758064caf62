//! What is mounted below a directory that is about to be removed.
//!
//! Builds mount things of the host into their workspace, `/dev` into a chroot
//! for one, and leave them there: whoever removes the workspace would remove
//! the host's files.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

/// Unmounts all that is mounted at `dir` or below. `dir` has no link in it.
///
/// # Errors
/// Something is mounted there still, so nothing may be removed.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_spaces() {
        let table =
            b"22 27 0:21 / /proc rw - proc proc rw\n23 27 0:22 / /a\\040b\\134c rw - x x rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/proc"), PathBuf::from("/a b\\c")]);
    }
}
