//! Files that are written anew and are this user's alone: keys, settings, what
//! a stage asked for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Puts a new file in the place of an earlier one, which is not written to:
/// whoever may have that one open, or may read it, does not see the new content.
///
/// # Errors
/// The earlier one can't be removed, or the new one not be made or filled.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    Ok(file)
}
