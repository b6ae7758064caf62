//! The files that say who gets in, as they are read: never without a bound, and
//! with a word where others on this host could read a secret.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The largest file.
const MOST_BYTES: u64 = super::callers::MOST_BYTES as u64;

/// Users that are not the owner, and not of the file's group, may read it.
const OTHERS_READ: u32 = 0o004;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {}", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Blocks shortly.
///
/// # Errors
/// It can't be read, or is too large.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let read = || {
        let mut text = Vec::new();
        File::open(path)?
            .take(MOST_BYTES + 1)
            .read_to_end(&mut text)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(text)
    };
    read().map_err(|source| FileError {
        path: path.to_owned(),
        source,
    })
}

/// The same for a secret, which is wiped when it is dropped.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let text = Zeroizing::new(read(path)?);
    // A container's secrets are often so, and nobody else is in there: no error.
    if let Ok(found) = path.metadata()
        && found.permissions().mode() & OTHERS_READ != 0
    {
        let path = path.display();
        tracing::warn!(%path, "every user of this host can read this secret: chmod o-r");
    }
    Ok(text)
}
