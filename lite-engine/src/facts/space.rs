//! How much a disk holds, and how much of that is left.

use std::path::Path;

/// A file system's size, in bytes. What can't be found out is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What a user without privileges may still write.
    pub available: u64,
}

impl Space {
    /// Of the file system that has `path`.
    pub fn at(path: &Path) -> Self {
        let Ok(found) = rustix::fs::statvfs(path) else {
            return Self::default();
        };
        Self {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        }
    }
}
