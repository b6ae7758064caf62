//! Secrets that a step returns while it runs: its log is to show none of them.
//!
//! The step writes them before it prints them, if it does; so looking at the
//! file before each piece of output is masked is soon enough.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::output::{self, Dialect};
use crate::untrusted::regular_file;

/// Most that is read of the file, in bytes.
const MAX: u64 = 1024 * 1024;

/// The file in which a step returns secrets.
pub(super) struct Returned {
    file: PathBuf,
    /// By what a change of it is told.
    seen: Option<(u64, i64, i64)>,
}

impl Returned {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, seen: None }
    }

    /// All values that are there now, if any came since the last call.
    pub(super) fn news(&mut self) -> Vec<String> {
        let Ok(found) = fs::symlink_metadata(&self.file) else {
            return Vec::new();
        };
        let state = Some((found.len(), found.mtime(), found.mtime_nsec()));
        if self.seen == state {
            return Vec::new();
        }
        self.seen = state;
        // What can't be read, the agent tells when the step is over.
        let Ok(Some(content)) = regular_file(&self.file, MAX) else {
            return Vec::new();
        };
        // How it is meant is known only then, too.
        [Dialect::Lines, Dialect::Statements]
            .into_iter()
            .filter_map(|dialect| output::parse(&content, dialect).ok())
            .flatten()
            .map(|(_, value)| value)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_values_are_told_when_they_come_and_once() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let file = folder.path().canonicalize().expect("there").join("secrets");
        let mut returned = Returned::new(file.clone());
        assert!(returned.news().is_empty());
        fs::write(&file, "A=first\n").expect("written");
        assert!(returned.news().contains(&"first".to_owned()));
        assert!(returned.news().is_empty());
        fs::write(&file, "A=first\nB=__B64__c2Vjb25k\n").expect("written");
        assert!(returned.news().contains(&"second".to_owned()));
    }
}
