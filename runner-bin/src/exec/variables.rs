//! Files of secrets and variables: a line each, `NAME=VALUE`, as dotenv reads
//! them everywhere (`'…'` is taken literally, `"…"` and bare text know `$NAME`
//! and backslashes).
//!
//! No message here shows a value, or a line that could not be read: it may be
//! half a secret.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use vmpool_core::Secret;

/// Why a file of secrets or variables can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VariablesError {
    /// Not readable.
    #[error("read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not lines of `NAME=VALUE`.
    #[error("{}:{line}: expected NAME=VALUE", .path.display())]
    Line { path: PathBuf, line: usize },
}

/// Secrets by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    by_name: BTreeMap<String, Secret>,
}

impl Secrets {
    /// Reads `files`, a later one over an earlier one. Adds to `warnings` where
    /// others can read one.
    ///
    /// # Errors
    /// A file can't be read or is malformed.
    pub(crate) fn read(
        files: &[PathBuf],
        warnings: &mut Vec<String>,
    ) -> Result<Self, VariablesError> {
        let mut by_name = BTreeMap::new();
        for file in files {
            warnings.extend(readable_by_others(file));
            by_name.extend(
                read(file)?
                    .into_iter()
                    .map(|(name, value)| (name, Secret::new(value))),
            );
        }
        Ok(Self { by_name })
    }

    /// The secret of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name)
    }

    /// Every value that no log may show.
    pub(crate) fn to_mask(&self) -> Vec<Secret> {
        self.by_name
            .values()
            .filter(|secret| !secret.expose().is_empty())
            .cloned()
            .collect()
    }
}

/// Variables of `files`, a later one over an earlier one.
///
/// # Errors
/// A file can't be read or is malformed.
pub(crate) fn variables(files: &[PathBuf]) -> Result<BTreeMap<String, String>, VariablesError> {
    let mut all = BTreeMap::new();
    for file in files {
        all.extend(read(file)?);
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<(String, String)>, VariablesError> {
    let text = fs::read(path).map_err(|source| VariablesError::Read {
        path: path.to_owned(),
        source,
    })?;
    dotenvy::from_read_iter(text.as_slice())
        .map(|line| {
            line.map_err(|error| match error {
                dotenvy::Error::LineParse(unread, _) => VariablesError::Line {
                    path: path.to_owned(),
                    line: line_of(&text, unread.as_bytes()),
                },
                dotenvy::Error::Io(source) => VariablesError::Read {
                    path: path.to_owned(),
                    source,
                },
                other => VariablesError::Read {
                    path: path.to_owned(),
                    source: std::io::Error::other(other),
                },
            })
        })
        .collect()
}

/// The number of the first line of `text` that begins like `unread`.
fn line_of(text: &[u8], unread: &[u8]) -> usize {
    let first = unread
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    text.split(|byte| *byte == b'\n')
        .position(|line| line.trim_ascii().ends_with(first))
        .map_or(1, |at| at + 1)
}

fn readable_by_others(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        format!(
            "{} can be read by others (mode {:o}); `chmod 600 {0}` makes it yours alone",
            path.display(),
            mode & 0o777,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_later_file_goes_over_an_earlier_one() {
        let first = file("A=1\n# a remark\nexport B='$A #x'\n", 0o600);
        let second = file("A=2\nC=\n", 0o600);
        let all = variables(&[first.path().into(), second.path().into()]).unwrap();
        let expected = [("A", "2"), ("B", "$A #x"), ("C", "")];
        assert_eq!(all, expected.map(|(k, v)| (k.into(), v.into())).into());
    }

    #[test]
    fn a_malformed_line_is_named_and_not_shown() {
        let bad = file("A=1\n\nhunter2 is the password\n", 0o600);
        let error = Secrets::read(&[bad.path().into()], &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}:3: expected NAME=VALUE", bad.path().display())
        );
    }

    #[test]
    fn a_secret_file_that_others_can_read_is_warned_of() {
        let mut warnings = Vec::new();
        Secrets::read(&[file("A=1", 0o600).path().into()], &mut warnings).unwrap();
        assert_eq!(warnings, [""; 0]);
        Secrets::read(&[file("A=1", 0o644).path().into()], &mut warnings).unwrap();
        assert!(
            warnings[0].contains("can be read by others (mode 644)"),
            "{warnings:?}"
        );
    }

    #[test]
    fn an_empty_secret_masks_nothing() {
        let secrets = Secrets::read(&[file("A=\nB=x1", 0o600).path().into()], &mut Vec::new());
        let secrets = secrets.unwrap();
        assert_eq!(secrets.to_mask().len(), 1);
        assert_eq!(secrets.get("A").unwrap().expose(), "");
    }
}
