//! Whether the pool file is another than before, by looking at it now and then.
//!
//! That is right for files that are written in place, for those that another
//! takes the place of, and where a link is turned to another folder, as with
//! Kubernetes' ConfigMaps; it needs nothing of the file system. A file counts
//! once it has stayed as it is from one look to the next: one that is only half
//! written would seem to have lost pools.

use std::fs::{Metadata, metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// A file that is looked at.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    looks: Interval,
    seen: Seen,
}

/// What tells one content from another: device, inode, size, and the times of
/// the last change in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

/// What was seen of a file.
#[derive(Debug, Default)]
struct Seen {
    /// What it was when it was last told of.
    told: Option<Stamp>,
    /// What it was at the last look.
    last: Option<Stamp>,
}

impl Watch {
    /// Tells of changes from now on. Must be called within a tokio runtime.
    pub(super) fn begin(path: PathBuf) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = metadata(&path).ok().map(|found| stamp(&found));
        Self {
            path,
            looks,
            seen: Seen {
                told: now,
                last: now,
            },
        }
    }

    /// Ends when the file is another than before.
    ///
    /// # Cancel safety
    /// Safe: what a dropped call has seen, the next one knows.
    pub(super) async fn changed(&mut self) {
        loop {
            self.looks.tick().await;
            // Shorter than a thread for it would need to begin.
            let found = metadata(&self.path).ok();
            if self.seen.look(found.as_ref().map(stamp)) {
                return;
            }
        }
    }
}

impl Seen {
    /// One that is not there may be on its way: it is no other file yet.
    fn look(&mut self, now: Option<Stamp>) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        let changed = now.is_some() && now == before && now != self.told;
        if changed {
            self.told = now;
        }
        changed
    }
}

fn stamp(file: &Metadata) -> Stamp {
    (
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(content: i64) -> Stamp {
        (1, 2, 3, content, 0, content, 0)
    }

    #[test]
    fn a_file_counts_once_it_stays_as_it_is_and_is_told_of_once() {
        let of = |content| Some(stamp(content));
        let mut seen = Seen {
            told: of(1),
            last: of(1),
        };
        let mut tell = |stamps: &[Option<Stamp>]| -> Vec<bool> {
            stamps.iter().map(|found| seen.look(*found)).collect()
        };
        assert_eq!(tell(&[of(1), of(1)]), [false, false]);
        assert_eq!(
            tell(&[of(2), of(3), of(3), of(3)]),
            [false, false, true, false]
        );
        // Away and back again is no change.
        assert_eq!(tell(&[None, None, of(3), of(3)]), [false; 4]);
        assert_eq!(
            tell(&[None, of(4), of(4), of(4)]),
            [false, false, true, false]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_is_turned_to_another_folder_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["one", "two"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("pool.yml"), "same").unwrap();
        }
        std::os::unix::fs::symlink(at("one"), at("data")).unwrap();
        let mut watch = Watch::begin(at("data").join("pool.yml"));
        let waited = tokio::time::timeout(LOOK * 5, watch.changed()).await;
        assert!(waited.is_err(), "nothing has changed");
        std::os::unix::fs::symlink(at("two"), at("next")).unwrap();
        std::fs::rename(at("next"), at("data")).unwrap();
        let waited = tokio::time::timeout(LOOK * 5, watch.changed()).await;
        assert!(waited.is_ok(), "it was not seen");
    }
}
