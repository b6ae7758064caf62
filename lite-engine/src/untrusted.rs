//! Reads files that a step may have put something else in the place of.
//!
//! The agent may read what a step may not, so it is not to be led elsewhere: no
//! symbolic link is followed at any place of the path, nothing but a regular
//! file is read, and no more of it than a limit.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// What is in the file; `None` where there is none.
///
/// # Errors
/// It is no regular file, lies behind a link, or is larger than `limit` bytes.
pub(crate) fn regular_file(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let error = format!("it is larger than {limit} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, error));
    }
    Ok(Some(content))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    // A FIFO does not make us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(CWD, path, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::LOOP) => Err(io::Error::other("it lies behind a symbolic link")),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn links_fifos_directories_and_large_files_are_not_read() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let folder = folder.path().canonicalize().expect("there");
        let secret = folder.join("secret");
        std::fs::write(&secret, "12345").expect("written");
        assert_eq!(
            regular_file(&secret, 5).expect("read"),
            Some(b"12345".to_vec())
        );
        assert!(regular_file(&secret, 4).is_err());
        assert!(
            regular_file(&folder.join("none"), 5)
                .expect("none")
                .is_none()
        );

        symlink(&secret, folder.join("link")).expect("linked");
        assert!(regular_file(&folder.join("link"), 5).is_err());
        symlink(&folder, folder.join("beside")).expect("linked");
        assert!(regular_file(&folder.join("beside/secret"), 5).is_err());
        mkfifo(&folder.join("fifo"), Mode::S_IRUSR).expect("made");
        assert!(regular_file(&folder.join("fifo"), 5).is_err());
        assert!(regular_file(&folder, 5).is_err());
    }
}
