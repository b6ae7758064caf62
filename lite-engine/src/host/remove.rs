//! Removes what a stage left on the disk, never more.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::mounts::unmount_below;

/// Removes the file, or the directory with all that is in it; a symbolic link
/// itself and nothing behind it. Directories that may not be written to are
/// opened up first, and what is mounted there is unmounted, or else nothing is
/// removed. What is not there is no error.
///
/// No process of the stage may be left: one that renames directories meanwhile
/// could lead the opening up astray.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    unmount_below(path)?;
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).or_else(|error| {
            if error.kind() != ErrorKind::PermissionDenied {
                return Err(error);
            }
            open_up(path)?;
            fs::remove_dir_all(path)
        }),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes the directory and all within writable for their owner. Links are not followed.
fn open_up(dir: &Path) -> io::Result<()> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_directories_are_opened_up_and_links_are_not_followed() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let kept = folder.path().join("kept");
        let stage = folder.path().join("stage");
        let deep = stage.join("a/b");
        fs::create_dir_all(&kept).expect("created");
        fs::create_dir_all(&deep).expect("created");
        fs::write(kept.join("file"), "kept").expect("written");
        fs::write(deep.join("file"), "gone").expect("written");
        std::os::unix::fs::symlink(&kept, deep.join("link")).expect("linked");
        fs::set_permissions(&kept, Permissions::from_mode(0o500)).expect("set");
        fs::set_permissions(&deep, Permissions::from_mode(0o500)).expect("set");
        fs::set_permissions(stage.join("a"), Permissions::from_mode(0o000)).expect("set");

        open_up(&stage).expect("opened up");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&deep), mode(&kept)), (0o700, 0o500));
        remove(&stage).expect("removed");
        remove(&stage).expect("nothing to remove");
        assert!(!stage.exists());
        assert_eq!(
            fs::read_to_string(kept.join("file")).expect("there"),
            "kept"
        );
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_is_removed_alone() {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).expect("created");
        std::os::unix::fs::symlink(&kept, folder.path().join("stage")).expect("linked");
        remove(&folder.path().join("stage")).expect("removed");
        assert!(kept.exists());
    }
}
