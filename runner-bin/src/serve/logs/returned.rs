//! What a step has returned, in a file beside its log: `<step>.returned`.
//!
//! It may hold secrets, so nobody else may read it (P11), and it is durable
//! before the step's end is answered (P5). It stays as long as the log does.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde::Serialize;
use tempfile::NamedTempFile;
use vmpool_core::Returned;

/// Writes it, whole or not at all. Blocks for an fsync.
pub(super) fn write(path: &Path, returned: &Returned) -> io::Result<()> {
    write_private(path, returned)
}

/// Writes what nobody else may read into the folder of a stage's logs, made if
/// need be; whole or not at all. Blocks for an fsync.
pub(crate) fn write_private(path: &Path, what: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let mut private = DirBuilder::new();
    private.recursive(true).mode(0o700).create(folder)?;
    // Made with mode 0600.
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(what)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Reads it; nothing where there is no such file.
pub(super) fn read(path: &Path) -> io::Result<Returned> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Returned::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use vmpool_core::Variable;

    use super::*;

    #[test]
    fn p11_what_was_returned_is_read_again_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.returned");
        assert!(read(&path).unwrap().is_empty());
        let returned = Returned {
            exported: [("A".to_owned(), "1".to_owned())].into(),
            outputs: vec![Variable {
                name: "B".to_owned(),
                value: "s3cret".to_owned(),
                is_secret: true,
            }],
            trouble: None,
        };
        write(&path, &returned).unwrap();
        write(&path, &returned).unwrap();
        assert_eq!(read(&path).unwrap(), returned);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{returned:?}").contains("s3cret"));
    }
}
