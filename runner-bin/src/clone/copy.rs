//! Copies files as they are: content, permissions, times, symbolic links.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use walkdir::WalkDir;

use super::STATE_MARK;

/// How much was copied.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files that are neither regular nor links nor directories.
    pub(super) special: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.files == 1 { "" } else { "s" };
        write!(f, "{} file{s}, {}", self.files, Size(self.bytes))?;
        if self.special > 0 {
            write!(
                f,
                " ({} left out: sockets, pipes and devices)",
                self.special
            )?;
        }
        Ok(())
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |unit: u64| (self.0 / unit, self.0 % unit * 10 / unit);
        let ((whole, tenth), unit) = match self.0 {
            0..1_000 => return write!(f, "{} bytes", self.0),
            1_000..1_000_000 => (tenths(1_000), "kB"),
            1_000_000..1_000_000_000 => (tenths(1_000_000), "MB"),
            _ => (tenths(1_000_000_000), "GB"),
        };
        write!(f, "{whole}.{tenth} {unit}")
    }
}

/// Copies `files`, which are relative to `from`. One that is listed and not
/// there was deleted, and stays so; a directory is made empty.
pub(super) fn listed(from: &Path, to: &Path, files: &BTreeSet<PathBuf>) -> anyhow::Result<Copied> {
    let mut copied = Copied::default();
    let mut folder: Option<(&Path, bool)> = None;
    for file in files {
        let parent = file.parent().unwrap_or_else(|| Path::new(""));
        let is_there = match folder {
            Some((last, is_there)) if last == parent => is_there,
            _ => {
                let is_there = is_real_directory(from, parent);
                if is_there {
                    let made = to.join(parent);
                    fs::create_dir_all(&made)
                        .with_context(|| format!("make {}", made.display()))?;
                }
                is_there
            }
        };
        folder = Some((parent, is_there));
        if is_there {
            let source = from.join(file);
            one(&source, &to.join(file), &mut copied)
                .with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(copied)
}

/// `relative` is a directory below `from` and reached without a symbolic link.
/// What git still lists behind a link is deleted, and would be copied to where
/// the link leads.
fn is_real_directory(from: &Path, relative: &Path) -> bool {
    let mut path = from.to_owned();
    relative.components().all(|part| {
        path.push(part);
        fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir())
    })
}

/// Copies all that is below `from`.
pub(super) fn all(from: &Path, to: &Path) -> anyhow::Result<Copied> {
    let mut copied = Copied::default();
    // A target inside of the original would be copied into itself for ever.
    let to_real = fs::canonicalize(to).with_context(|| format!("find {}", to.display()))?;
    let entries = WalkDir::new(from)
        .min_depth(1)
        .into_iter()
        .filter_entry(|entry| {
            let is_dir = entry.file_type().is_dir();
            !(is_dir && (entry.path().join(STATE_MARK).exists() || entry.path() == to_real))
        });
    for entry in entries {
        let entry = entry.context("read the directory")?;
        let path = entry.path();
        let relative = path
            .strip_prefix(from)
            .expect("what is walked lies below its root");
        one(path, &to.join(relative), &mut copied)
            .with_context(|| format!("copy {}", path.display()))?;
    }
    Ok(copied)
}

fn one(source: &Path, target: &Path, copied: &mut Copied) -> io::Result<()> {
    let meta = match fs::symlink_metadata(source) {
        Ok(meta) => meta,
        // Deleted, before or while we look: then it is not there now.
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let kind = meta.file_type();
    if kind.is_dir() {
        return fs::create_dir_all(target);
    }
    if kind.is_symlink() {
        symlink(fs::read_link(source)?, target)?;
        copied.files += 1;
        return Ok(());
    }
    if !kind.is_file() {
        copied.special += 1;
        return Ok(());
    }
    let mut original = match File::open(source) {
        Ok(file) => file,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // A new file or none: whatever is there already is never written to.
    let mut copy = File::create_new(target)?;
    copied.bytes += io::copy(&mut original, &mut copy)?;
    copied.files += 1;
    copy.set_permissions(meta.permissions())?;
    // Build tools compare times: a copy with new ones would build everything anew.
    copy.set_times(FileTimes::new().set_modified(meta.modified()?))
}
