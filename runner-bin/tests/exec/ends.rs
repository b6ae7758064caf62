//! How a run ends: what the summary says, and the exit codes.

use crate::support::{Project, Running};

#[test]
fn a_pipeline_that_succeeds_shows_its_output_the_summary_and_the_acquisition_time() {
    let project = Project::with_steps(
        "- name: greet\n  commands: [echo Hello]\n- name: part\n  commands: [echo Goodbye]\n",
    );
    let ran = project.exec(&[]).ended_with(0);
    assert_eq!(ran.log_of("greet"), "+ echo Hello\nHello\n");
    assert_eq!(ran.log_of("part"), "+ echo Goodbye\nGoodbye\n");
    let summary = &ran.out[ran.out.find("STEP").expect("a summary")..];
    for row in ["clone", "greet", "part"] {
        let row = summary
            .lines()
            .find(|line| line.trim_start().starts_with(row));
        let row = row.expect("a row for each step");
        assert!(
            row.contains("local-") && row.ends_with("succeeded"),
            "{row}"
        );
    }
    assert!(
        summary.contains("test: succeeded on machine local-"),
        "{summary}"
    );
    assert!(summary.contains(" acquired in "), "{summary}");
    assert!(project.states().is_empty(), "{:?}", project.states());
}

#[test]
fn after_a_failure_only_steps_for_failures_run_and_the_summary_says_why() {
    let project = Project::with_steps(
        "- name: build\n  commands: [echo built]\n\
         - name: check\n  commands: ['exit 7']\n\
         - name: publish\n  commands: [echo published]\n\
         - name: notify\n  commands: ['echo notified of $DRONE_FAILED_STEPS']\n  when: {status: [failure]}\n\
         - name: sweep\n  commands: [echo swept]\n  when: {status: [success, failure]}\n",
    );
    project
        .exec(&[])
        .ended_with(1)
        .says("built")
        .does_not_say("published")
        .says("notified of check")
        .says("swept")
        .says("failed: exit code 7")
        .says("skipped: check failed")
        .says(": step check failed: exit code 7");
}

#[test]
fn a_step_that_may_fail_fails_nobody() {
    let project = Project::with_steps(
        "- name: lint\n  commands: ['exit 3']\n  failure: ignore\n\
         - name: build\n  commands: [echo built]\n\
         - name: notify\n  commands: [echo notified]\n  when: {status: [failure]}\n",
    );
    project
        .exec(&[])
        .ended_with(0)
        .says("failed, ignored: exit code 3")
        .says("built")
        .says("skipped: nothing has failed");
}

#[test]
fn a_signal_that_ends_a_step_is_named() {
    let project = Project::with_steps("- name: suicide\n  commands: ['kill -SEGV $$$$']\n");
    project
        .exec(&[])
        .ended_with(1)
        .says("failed: killed by SIGSEGV (signal 11)");
}

#[test]
fn a_step_that_needs_a_container_fails_and_says_what_to_do() {
    let project = Project::with_steps(
        "- name: build\n  image: golang:1.25\n  commands: [echo on the host]\n\
         - name: after\n  commands: [echo after]\n",
    );
    project
        .exec(&[])
        .ended_with(1)
        .says("failed: it asks for the image golang:1.25, and steps can't run in containers here yet: --ignore-image runs its commands on this host instead")
        .says("skipped: build failed")
        .does_not_say("on the host\n");
    project
        .exec(&["--ignore-image"])
        .ended_with(0)
        .complains("warning: without their images, on this host: build (golang:1.25)")
        .says("on the host");
}

#[test]
fn a_plugin_and_a_service_that_are_only_an_image_fail_in_any_case() {
    let project =
        Project::with_steps("- name: notify\n  image: plugins/slack\n  settings: {channel: dev}\n");
    project.exec(&["--ignore-image"]).ended_with(1).says(
        "it is the plugin plugins/slack without commands of its own, and steps can't run in containers here yet: --exclude notify leaves it out",
    );
    let project = Project::new(
        "kind: pipeline\nname: test\nservices:\n- name: db\n  image: postgres\n\
         steps:\n- name: check\n  commands: [echo checked]\n",
    );
    project
        .exec(&[])
        .ended_with(1)
        .says("step db failed")
        .does_not_say("checked");
    project
        .exec(&["--exclude", "db"])
        .ended_with(0)
        .says("checked");
}

#[test]
fn where_there_is_no_place_for_a_machine_that_is_said() {
    let project = Project::with_steps("- name: greet\n  commands: [echo Hello]\n");
    let mut command = project.vmpool(&["exec"]);
    command.env("TMPDIR", project.tmp().join("nowhere"));
    Running::start(command)
        .end()
        .ended_with(3)
        .complains("vmpool: make a temporary state directory: ")
        .complains("nowhere")
        .does_not_say("Hello");
}
