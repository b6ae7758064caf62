//! What steps see in their environment, and what goes over what.

use crate::support::Project;

#[test]
fn the_later_goes_over_the_earlier() {
    let project = Project::new(
        "kind: pipeline\nname: test\n\
         environment: {B: pipeline, C: pipeline, D: {from_secret: token}, DRONE_BRANCH: pipeline}\n\
         steps:\n- name: tell\n  environment: {C: step, DRONE_STEP_NAME: mine, E: {from_secret: token}, N: 0x10, Y: yes}\n\
         \x20 commands: ['echo $A $B $C $DRONE_BRANCH $DRONE_STEP_NAME $N $Y', '[ \"$D\" = \"$E\" ] && echo $${#D}']\n",
    );
    project.write("a.env", "A=first\nB=file\nC=file\n");
    project.write("b.env", "A=second\n");
    project.write("secrets.env", "token=hunter2\n");
    let ran = project
        .exec(&[
            "--env-file",
            "a.env",
            "--env-file",
            "b.env",
            "--secret-file",
            "secrets.env",
            "--branch",
            "topic",
        ])
        .ended_with(0);
    let log = ran.log_of("tell");
    assert!(
        log.contains("second pipeline step topic mine 0x10 yes\n"),
        "{log}"
    );
    assert!(log.ends_with("7\n"), "{log}");
}

#[test]
fn a_secret_without_a_value_is_empty_and_warned_of_once() {
    let project = Project::with_steps(
        "- name: a\n  environment: {T: {from_secret: nope}}\n  commands: ['echo \"<$T>\" $${T+set}']\n\
         - name: b\n  environment: {T: {from_secret: nope}}\n  commands: [echo B]\n",
    );
    let ran = project.exec(&[]).ended_with(0).says("a     | <> set").complains(
        "warning: the secret nope has no value, so it is empty in a, b; --secret-file gives it one",
    );
    assert_eq!(ran.err.lines().count(), 1, "{ran}");
}

#[test]
fn steps_see_the_variables_of_the_build_and_nothing_of_the_terminal() {
    let project = Project::with_steps("- name: env\n  commands: [env]\n");
    project.commit();
    let mut command = project.vmpool(&["exec"]);
    command
        .env("VMPOOL_TEST_PRIVATE", "x")
        .env("GIT_DIR", "/nowhere");
    let ran = crate::support::Running::start(command).end().ended_with(0);
    let log = ran.log_of("env");
    for line in [
        "CI=true",
        "DRONE=true",
        "DRONE_BRANCH=main",
        "DRONE_BUILD_EVENT=push",
        "DRONE_BUILD_STATUS=success",
        "DRONE_COMMIT_AUTHOR_EMAIL=mona@example.org",
        "DRONE_COMMIT_MESSAGE=Say hello",
        "DRONE_COMMIT_REF=refs/heads/main",
        "DRONE_REPO_NAME=project",
        "DRONE_STAGE_NAME=test",
        "DRONE_STEP_NAME=env",
    ] {
        assert!(log.lines().any(|seen| seen == line), "{line} in {log}");
    }
    for name in [
        "DRONE_WORKSPACE=/",
        "DRONE_STAGE_MACHINE=local-",
        "DRONE_COMMIT_SHA=",
        "PATH=",
        "HOME=",
    ] {
        assert!(
            log.lines().any(|seen| seen.starts_with(name)),
            "{name} in {log}"
        );
    }
    assert!(
        !log.contains("VMPOOL_TEST_PRIVATE") && !log.contains("GIT_DIR"),
        "{log}"
    );
    project.wait_until_nothing_is_left();
}
