//! Bad input: exit code 2, the place, the field, and nothing was started (P13).

use crate::support::Project;

#[test]
fn p13_a_yaml_error_names_file_line_column_and_field() {
    let project = Project::new("kind: pipeline\nsteps:\n- name: build\n  commands: 7\n");
    let ran = project.exec(&[]).ended_with(2).complains(
        ".vmpool.yml:4:13: steps[0].commands: expected a list of strings, found a number\n",
    );
    assert_eq!(ran.out, "");
    assert!(project.states().is_empty());
}

#[test]
fn p13_what_is_unknown_is_an_error_in_our_own_file_and_a_warning_in_drones() {
    let text = "kind: pipeline\nname: test\nsteps:\n- name: build\n  comands: [x]\n  commands: [echo built]\n";
    let project = Project::new(text);
    project.exec(&[]).ended_with(2).complains("`commands`");
    project.write("drone.yml", text);
    let ran = project
        .exec(&["drone.yml"])
        .ended_with(0)
        .complains("warning: drone.yml:5:")
        .says("built");
    assert_eq!(
        ran.err.matches("comands").count(),
        1,
        "a warning comes once: {ran}"
    );
}

#[test]
fn p13_what_is_not_there_is_named() {
    let project = Project::with_steps("- name: build\n  commands: [echo built]\n");
    project
        .exec(&["nope.yml"])
        .ended_with(2)
        .complains("vmpool: read nope.yml: No such file");
    project
        .exec(&["--include", "biuld"])
        .ended_with(2)
        .complains("vmpool: --include biuld: there is no step of this name; there are build");
    project
        .exec(&["--secret-file", "nope"])
        .ended_with(2)
        .complains("vmpool: read nope");
    project
        .exec(&["--timeout", "90"])
        .ended_with(2)
        .complains("a duration needs a unit");
    project.write("bad.env", "A=1\nhunter2\n");
    project
        .exec(&["--secret-file", "bad.env"])
        .ended_with(2)
        .complains("bad.env:2: expected NAME=VALUE")
        .does_not_say("hunter2");
    std::fs::remove_file(project.path().join(".vmpool.yml")).unwrap();
    project
        .exec(&[])
        .ended_with(2)
        .complains("there is no .vmpool.yml or .drone.yml in ");
}

#[test]
fn p13_bytes_that_are_no_text_are_refused() {
    let project = Project::with_steps("- name: build\n  commands: [echo built]\n");
    std::fs::write(
        project.path().join("bad.yml"),
        b"kind: pipeline\nname: \xff\n",
    )
    .unwrap();
    project
        .exec(&["bad.yml"])
        .ended_with(2)
        .complains("bad.yml:2: not UTF-8");
}

#[test]
fn drones_file_is_run_where_ours_is_not_there() {
    let project = Project::new("");
    std::fs::remove_file(project.path().join(".vmpool.yml")).unwrap();
    project.write(
        ".drone.yml",
        "kind: pipeline\nsteps:\n- name: a\n  commands: [echo found]\n",
    );
    project.exec(&[]).ended_with(0).says("found");
}

#[test]
fn steps_can_be_chosen() {
    let project = Project::with_steps(
        "- name: a\n  commands: [echo A]\n- name: b\n  commands: [echo B]\n- name: c\n  commands: [echo C]\n",
    );
    project
        .exec(&["--include", "a", "--include", "c", "--exclude", "c"])
        .ended_with(0)
        .says("a     | A")
        .says("skipped: not included")
        .says("skipped: excluded")
        .does_not_say("b     | B");
}

#[test]
fn triggers_see_what_the_options_say() {
    let project = Project::new(
        "kind: pipeline\nname: release\ntrigger: {event: [tag], ref: ['refs/tags/v*']}\n\
         steps:\n- name: tell\n  commands: ['echo $DRONE_TAG $DRONE_BUILD_EVENT ${DRONE_TAG##v}']\n",
    );
    project
        .exec(&[])
        .ended_with(0)
        .says("nothing to run")
        .says("release: skipped: event push is not in [tag]");
    let ran = project.exec(&["--tag", "v1.2"]).ended_with(0);
    assert_eq!(
        ran.log_of("tell"),
        "+ echo $DRONE_TAG $DRONE_BUILD_EVENT 1.2\nv1.2 tag 1.2\n"
    );
}

#[test]
fn validate_says_of_each_file_whether_it_can_be_run() {
    let project = Project::with_steps("- name: a\n  commands: [echo A]\n");
    project.write("bad.yml", "kind: pipeline\nsteps: 3\n");
    let run = |arguments: &[&str]| crate::support::Running::start(project.vmpool(arguments)).end();
    run(&["validate", ".vmpool.yml"])
        .ended_with(0)
        .says(".vmpool.yml: ok, 1 pipeline, 1 step\n");
    run(&["validate", "bad.yml", ".vmpool.yml"])
        .ended_with(2)
        .complains("bad.yml:2:8: steps: ")
        .says("bad.yml: refused\n")
        .says(".vmpool.yml: ok");
    run(&["validate"]).ended_with(2);
}

#[test]
fn the_first_screen_shows_the_commands_that_people_need() {
    let project = Project::new("");
    let run = |arguments: &[&str]| crate::support::Running::start(project.vmpool(arguments)).end();
    run(&[])
        .ended_with(0)
        .says("vmpool exec ")
        .says("vmpool validate FILE");
    run(&["exec", "--help"])
        .ended_with(0)
        .says("Examples:")
        .says("Exit codes:");
    run(&["completions", "bash"])
        .ended_with(0)
        .says("complete -F _vmpool");
    run(&["exce"]).ended_with(2).complains("exec");
}
