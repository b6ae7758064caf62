//! Which files a list of patterns names.
//!
//! `*` and `?` stand for anything in one name, `**` for any folders, `~` at the
//! beginning for the home folder. Folders are walked from where a pattern's
//! plain beginning ends.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use walkdir::WalkDir;

use super::{Limits, Problem};

/// Folders inside one another that are walked.
const DEPTH: usize = 64;

/// A pattern is none.
#[derive(Debug, thiserror::Error)]
#[error("read the pattern {pattern}")]
struct PatternError {
    pattern: String,
    #[source]
    source: globset::Error,
}

/// Files that were found, in order, each once, and what stood in the way.
#[derive(Debug, Default)]
pub struct Found {
    /// The files.
    pub files: BTreeSet<PathBuf>,
    /// Patterns that are none, and walks that came to a limit.
    pub problems: Vec<Problem>,
}

/// The files that the patterns name.
pub fn expand<P: AsRef<str>>(
    patterns: &[P],
    workdir: &Path,
    home: Option<&Path>,
    limits: &Limits,
) -> Found {
    let mut found = Found::default();
    let mut entries = limits.entries;
    for pattern in patterns {
        let pattern = pattern.as_ref().trim();
        if pattern.is_empty() {
            continue;
        }
        let walked = Place::of(pattern, workdir, home)
            .map_err(|error| chain(&error))
            .and_then(|place| place.walk(&mut entries, limits.files, &mut found.files));
        if let Err(reason) = walked {
            found.problems.push(Problem {
                file: pattern.into(),
                reason,
            });
        }
    }
    found
}

/// Opens a file for reading, if it is one and no link to one.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // A FIFO in its place would not be waited for.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("is not a file"))
    }
}

/// Where to walk, and what to look for there.
struct Place {
    from: PathBuf,
    /// What the path below must look like; `None` if `from` itself is meant.
    below: Option<GlobMatcher>,
    depth: usize,
}

impl Place {
    fn of(pattern: &str, workdir: &Path, home: Option<&Path>) -> Result<Self, PatternError> {
        let (mut from, pattern) = match (pattern.strip_prefix('~'), home) {
            (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                (home.to_owned(), rest.trim_start_matches('/'))
            }
            _ => (workdir.to_owned(), pattern),
        };
        let mut rest = PathBuf::new();
        for component in Path::new(pattern).components() {
            let plain = !component
                .as_os_str()
                .to_string_lossy()
                .contains(['*', '?', '[', '{', '\\']);
            if rest.as_os_str().is_empty() && plain {
                // An absolute pattern leaves the working folder.
                from.push(component);
            } else if component != Component::CurDir {
                rest.push(component);
            }
        }
        let depth = if rest.to_string_lossy().contains("**") {
            DEPTH
        } else {
            rest.components().count()
        };
        let below = (!rest.as_os_str().is_empty())
            .then(|| {
                GlobBuilder::new(&rest.to_string_lossy())
                    .literal_separator(true)
                    .build()
            })
            .transpose()
            .map_err(|source| PatternError {
                pattern: pattern.to_owned(),
                source,
            })?;
        Ok(Self {
            from,
            below: below.map(|glob| glob.compile_matcher()),
            depth,
        })
    }

    fn walk(
        &self,
        entries: &mut usize,
        most: usize,
        files: &mut BTreeSet<PathBuf>,
    ) -> Result<(), String> {
        let walk = WalkDir::new(&self.from)
            .max_depth(if self.below.is_some() { self.depth } else { 0 })
            .follow_root_links(false);
        for entry in walk {
            if *entries == 0 {
                return Err("the folders have too many entries; not all were looked at".into());
            }
            *entries -= 1;
            // A folder that is gone or closed has no reports.
            let Ok(entry) = entry else { continue };
            let below = entry.path().strip_prefix(&self.from);
            let matches = match (&self.below, below) {
                (Some(glob), Ok(below)) => glob.is_match(below),
                (None, _) => true,
                _ => false,
            };
            if matches && entry.file_type().is_file() {
                if files.len() == most {
                    return Err(format!(
                        "more than {most} files match; the rest was left out"
                    ));
                }
                files.insert(entry.into_path());
            }
        }
        Ok(())
    }
}

fn chain(error: &PatternError) -> String {
    format!("{error}: {}", error.source)
}
