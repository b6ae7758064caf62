//! Where the sources come from.

use std::fs;

use crate::support::Project;

#[test]
fn a_repository_is_cloned_as_it_is_on_disk_with_git() {
    let project = Project::with_steps(
        "- name: look\n  commands: [git log --format=%s, cat new, git status --porcelain, '! [ -e ignored ]']\n",
    );
    project.write(".gitignore", "ignored\n");
    project.commit();
    project.write("new", "not committed\n");
    project.write("ignored", "x");
    let ran = project.exec(&[]).ended_with(0).says("1 uncommitted change");
    assert_eq!(
        ran.log_of("look"),
        "+ git log --format=%s\nSay hello\n+ cat new\nnot committed\n\
         + git status --porcelain\n?? new\n+ ! [ -e ignored ]\n"
    );
}

#[test]
fn a_plain_directory_is_copied_and_the_original_stays_as_it_is() {
    let project = Project::with_steps("- name: change\n  commands: [cat file, echo 2 > file]\n");
    project.write("file", "1\n");
    project
        .exec(&[])
        .ended_with(0)
        .says("change | 1")
        .says("not a git repository");
    assert_eq!(
        fs::read_to_string(project.path().join("file")).unwrap(),
        "1\n"
    );
}

#[test]
fn mount_uses_the_directory_in_place_and_leaves_only_what_steps_write() {
    let project = Project::with_steps("- name: change\n  commands: [pwd, echo 2 > file]\n");
    let before = fs::read_dir(project.path()).unwrap().count();
    let ran = project.exec(&["--mount"]).ended_with(0);
    assert!(
        ran.log_of("change")
            .contains(project.path().to_str().unwrap())
    );
    assert_eq!(
        fs::read_to_string(project.path().join("file")).unwrap(),
        "2\n"
    );
    assert_eq!(fs::read_dir(project.path()).unwrap().count(), before + 1);
}

#[test]
fn without_a_clone_the_workspace_is_empty() {
    let project = Project::new(
        "kind: pipeline\nname: test\nclone: {disable: true}\nsteps:\n- name: look\n  commands: [ls -A]\n",
    );
    assert_eq!(project.exec(&[]).ended_with(0).log_of("look"), "+ ls -A\n");
    let project = Project::with_steps("- name: look\n  commands: [ls -A]\n");
    assert_eq!(
        project
            .exec(&["--exclude", "clone"])
            .ended_with(0)
            .log_of("look"),
        "+ ls -A\n"
    );
}

#[test]
fn the_workspace_is_where_the_file_says_within_the_machine() {
    let project = Project::new(
        "kind: pipeline\nname: test\nworkspace: {base: /go, path: src/example.org/x}\n\
         steps:\n- name: look\n  commands: [pwd, ls -A]\n",
    );
    project
        .exec(&[])
        .ended_with(0)
        .says("/go/src/example.org/x\n")
        .says("look  | .vmpool.yml")
        .complains("pipeline test: its workspace /go is below the machine's own folder here");
    let project = Project::new(
        "kind: pipeline\nname: test\nworkspace: {path: ../..}\nsteps:\n- name: look\n  commands: [pwd]\n",
    );
    project
        .exec(&[])
        .ended_with(2)
        .complains("workspace: `..` is not possible");
}

#[test]
fn a_clone_that_fails_skips_the_steps() {
    let project = Project::with_steps("- name: a\n  commands: [echo A]\n");
    project.commit();
    fs::write(
        project.path().join(".git/HEAD"),
        "ref: refs/heads/nope\n\0garbage",
    )
    .unwrap();
    fs::write(project.path().join(".git/index"), "garbage").unwrap();
    project
        .exec(&[])
        .ended_with(1)
        .says("clone: failed: exit code 1")
        .says("a: skipped: clone failed")
        .says(": step clone failed: exit code 1");
}
