use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::git::git;
use super::*;

struct Two {
    from: TempDir,
    to: TempDir,
}

impl Two {
    fn new() -> Self {
        let make = || TempDir::new().expect("a temporary directory");
        Self {
            from: make(),
            to: make(),
        }
    }

    fn from(&self) -> &Path {
        self.from.path()
    }

    fn to(&self) -> &Path {
        self.to.path()
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.from().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn commit(&self, message: &str) {
        said(self.from(), &["add", "--all"]);
        said(
            self.from(),
            &[
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "commit",
                "-qm",
                message,
            ],
        );
    }

    fn clone(&self) -> Cloned {
        clone(self.from(), self.to(), None).unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.to().join(file)).unwrap()
    }

    fn has(&self, file: &str) -> bool {
        self.to().join(file).symlink_metadata().is_ok()
    }
}

fn repository() -> Two {
    let two = Two::new();
    said(two.from(), &["init", "-q", "-b", "main"]);
    two.write("kept", "1");
    two.write("changed", "1");
    two.write("deleted", "1");
    two.write("folder/.gitignore", "ignored\n");
    two.commit("first");
    two
}

fn said(directory: &Path, arguments: &[&str]) -> String {
    let output = git(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn a_repository_comes_as_it_is_on_disk_with_a_git_of_its_own() {
    let two = repository();
    said(
        two.from(),
        &["remote", "add", "origin", "https://example.org/a/b.git"],
    );
    two.write("changed", "2");
    two.write("folder/new", "1");
    two.write("folder/ignored", "1");
    fs::remove_file(two.from().join("deleted")).unwrap();
    two.write("outside-index-only", "1");
    said(two.from(), &["add", "outside-index-only"]);

    let cloned = two.clone();

    assert_eq!(two.read("changed"), "2");
    assert!(two.has("folder/new") && two.has("outside-index-only"));
    assert!(!two.has("folder/ignored") && !two.has("deleted"));
    let head = said(two.from(), &["rev-parse", "--short", "HEAD"]);
    assert_eq!(
        cloned.what,
        What::Repository(format!("{head} with 4 uncommitted changes"))
    );
    assert_eq!(said(two.to(), &["rev-parse", "--short", "HEAD"]), head);
    assert_eq!(said(two.to(), &["symbolic-ref", "--short", "HEAD"]), "main");
    assert_eq!(
        said(two.to(), &["remote", "get-url", "origin"]),
        "https://example.org/a/b.git"
    );
    assert_eq!(said(two.to(), &["diff", "--name-only"]), "changed\ndeleted");
}

#[test]
fn a_clean_repository_is_clean_in_its_clone_too() {
    let two = repository();
    let head = said(two.from(), &["rev-parse", "--short", "HEAD"]);
    assert_eq!(two.clone().what, What::Repository(head));
    assert_eq!(said(two.to(), &["status", "--porcelain"]), "");
    assert_eq!(said(two.to(), &["diff-index", "HEAD"]), "");
}

#[test]
fn what_the_clone_does_does_not_reach_the_original() {
    let two = repository();
    two.clone();
    fs::write(two.to().join("kept"), "2").unwrap();
    said(two.to(), &["checkout", "-qb", "other"]);
    said(
        two.to(),
        &[
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@b",
            "commit",
            "-qam",
            "second",
        ],
    );
    said(two.to(), &["gc", "-q", "--prune=now"]);
    assert_eq!(fs::read_to_string(two.from().join("kept")).unwrap(), "1");
    assert_eq!(
        said(two.from(), &["branch", "--format=%(refname:short)"]),
        "main"
    );
    said(two.from(), &["fsck", "--strict"]);
}

#[test]
fn a_depth_limits_the_commits() {
    let two = repository();
    two.write("kept", "2");
    two.commit("second");
    clone(two.from(), two.to(), NonZeroU32::new(1)).unwrap();
    assert_eq!(said(two.to(), &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(two.read("kept"), "2");
}

#[test]
fn a_repository_without_a_commit_is_cloned() {
    let two = Two::new();
    said(two.from(), &["init", "-q"]);
    two.write("file", "1");
    assert_eq!(
        two.clone().what,
        What::Repository("a repository without a commit".into())
    );
    assert_eq!(two.read("file"), "1");
}

#[test]
fn a_detached_head_stays_detached() {
    let two = repository();
    said(two.from(), &["checkout", "-q", "--detach"]);
    let head = said(two.from(), &["rev-parse", "HEAD"]);
    two.clone();
    assert_eq!(said(two.to(), &["rev-parse", "HEAD"]), head);
    assert!(
        !git(two.to())
            .args(["symbolic-ref", "-q", "HEAD"])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn repositories_inside_come_with_their_files() {
    let two = repository();
    two.write("inner/file", "1");
    said(&two.from().join("inner"), &["init", "-q"]);
    two.clone();
    assert_eq!(two.read("inner/file"), "1");
    assert!(!two.has("inner/.git"));
}

#[test]
fn a_part_of_a_repository_comes_without_git() {
    let two = repository();
    two.write("folder/ignored", "1");
    two.write("folder/file", "1");
    let cloned = clone(&two.from().join("folder"), two.to(), None).unwrap();
    assert_eq!(cloned.what, What::PartOfRepository);
    assert!(two.has("file") && !two.has("ignored") && !two.has(".git") && !two.has("kept"));
}

#[test]
fn a_directory_that_its_repository_ignores_comes_whole() {
    let two = repository();
    two.write("folder/ignored/file", "1");
    let cloned = clone(&two.from().join("folder/ignored"), two.to(), None).unwrap();
    assert_eq!(cloned.what, What::Directory);
    assert_eq!(two.read("file"), "1");
}

#[test]
fn a_plain_directory_comes_with_links_permissions_and_times() {
    let two = Two::new();
    two.write("bin/run", "#!/bin/sh\n");
    let run = two.from().join("bin/run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o750)).unwrap();
    symlink("bin/run", two.from().join("link")).unwrap();
    symlink("nowhere", two.from().join("dangling")).unwrap();
    let cloned = two.clone();
    assert_eq!(
        cloned.files,
        copy::Copied {
            files: 3,
            bytes: 10,
            special: 0
        }
    );
    let copied = fs::metadata(two.to().join("bin/run")).unwrap();
    assert_eq!(copied.permissions().mode() & 0o777, 0o750);
    assert_eq!(
        copied.modified().unwrap(),
        fs::metadata(&run).unwrap().modified().unwrap()
    );
    assert_eq!(
        fs::read_link(two.to().join("link")).unwrap(),
        Path::new("bin/run")
    );
    assert!(two.has("dangling"));
}

#[test]
fn a_runs_own_state_is_left_out_and_so_is_the_target_inside_of_the_original() {
    let two = Two::new();
    two.write("file", "1");
    two.write(&format!("state/{STATE_MARK}"), "");
    two.write("state/key", "secret");
    let to = two.from().join("target");
    fs::create_dir(&to).unwrap();
    let to = fs::canonicalize(to).unwrap();
    clone(&fs::canonicalize(two.from()).unwrap(), &to, None).unwrap();
    assert!(to.join("file").exists());
    assert!(!to.join("state").exists() && !to.join("target").exists());
}

#[test]
fn a_folder_that_became_a_link_to_the_original_is_not_written_through() {
    let two = repository();
    two.write("elsewhere/.gitignore", "1");
    fs::remove_dir_all(two.from().join("folder")).unwrap();
    symlink(two.from().join("elsewhere"), two.from().join("folder")).unwrap();
    two.clone();
    assert!(
        fs::symlink_metadata(two.to().join("folder"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read_to_string(two.from().join("elsewhere/.gitignore")).unwrap(),
        "1"
    );
}

#[test]
fn variables_of_a_hook_that_runs_us_lead_to_no_other_repository() {
    let command = git(Path::new("/"));
    let removed: Vec<_> = command
        .get_envs()
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    let known = std::process::Command::new("git")
        .args(["rev-parse", "--local-env-vars"])
        .output()
        .unwrap();
    for name in String::from_utf8(known.stdout).unwrap().lines() {
        assert!(removed.iter().any(|removed| removed == name), "{name}");
    }
}
