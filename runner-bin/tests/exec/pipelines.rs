//! Several pipelines: side by side, one after the other, on machines of their own.

use std::fs;

use crate::support::Project;

/// A pipeline with one step.
fn pipeline(name: &str, rest: &str, command: &str) -> String {
    format!(
        "---\nkind: pipeline\nname: {name}\n{rest}steps:\n- name: run\n  commands:\n  - {command}\n"
    )
}

#[test]
fn independent_pipelines_run_at_the_same_time_on_machines_of_their_own() {
    // Each waits until the other has begun.
    let meet = |mine: &str, other: &str| {
        format!("touch $MEET/{mine}; until [ -e $MEET/{other} ]; do sleep 0.05; done")
    };
    let project = Project::new(
        &[
            pipeline("one", "", &meet("1", "2")),
            pipeline("two", "", &meet("2", "1")),
        ]
        .concat(),
    );
    let meet = project.path().join("meet");
    fs::create_dir(&meet).unwrap();
    project.write("meet.env", &format!("MEET={}\n", meet.display()));
    let ran = project
        .exec(&["--jobs", "2", "--env-file", "meet.env", "--timeout", "60s"])
        .ended_with(0)
        .says("one: succeeded on machine local-")
        .says("two: succeeded on machine local-");
    let mut machines: Vec<_> = ran
        .out
        .split("machine local-")
        .filter_map(|text| text.split([' ', ',']).next())
        .collect();
    machines.sort_unstable();
    machines.dedup();
    assert_eq!(
        machines.iter().filter(|id| id.len() == 16).count(),
        2,
        "{machines:?}"
    );
}

#[test]
fn with_one_job_pipelines_run_one_after_the_other() {
    // Fails where another one is within.
    let alone = "mkdir $ALONE/lock; sleep 0.2; rmdir $ALONE/lock";
    let names = ["one", "two", "three"];
    let project = Project::new(&names.map(|name| pipeline(name, "", alone)).concat());
    let alone = project.path().join("alone");
    fs::create_dir(&alone).unwrap();
    project.write("alone.env", &format!("ALONE={}\n", alone.display()));
    project
        .exec(&["--jobs", "1", "--env-file", "alone.env"])
        .ended_with(0);
}

#[test]
fn a_pipeline_waits_for_what_it_depends_on_and_is_skipped_after_its_failure() {
    let project = Project::new(
        &[
            pipeline("last", "depends_on: [bad]\n", "echo last"),
            pipeline("bad", "depends_on: [good]\n", "exit 4"),
            pipeline("good", "", "echo good"),
            pipeline(
                "notify",
                "depends_on: [last]\ntrigger: {status: [failure]}\n",
                "echo notified of $DRONE_FAILED_STAGES",
            ),
        ]
        .concat(),
    );
    project
        .exec(&[])
        .ended_with(1)
        .says("good: succeeded")
        .says("bad: failed: step run failed: exit code 4")
        .says("last: skipped: bad failed")
        .says("notified of bad")
        .does_not_say("| last");
}

#[test]
fn a_service_runs_until_its_pipeline_ends() {
    let sleep = format!("65432.{}", std::process::id());
    let project = Project::new(&format!(
        "kind: pipeline\nname: test\n\
         services:\n- name: server\n  commands: ['echo up > state', 'sleep {sleep}']\n\
         steps:\n- name: helper\n  detach: true\n  commands: ['sleep {sleep}']\n\
         - name: use\n  commands: ['until [ -e state ]; do sleep 0.05; done', 'cat state']\n"
    ));
    project
        .exec(&["--timeout", "60s"])
        .ended_with(0)
        .says("use    | up")
        .says("server: succeeded after")
        .says("helper: succeeded after");
    assert!(crate::support::processes_with(&sleep).is_empty());
}

#[test]
fn a_service_that_fails_fails_nobody() {
    let project = Project::new(
        "kind: pipeline\nname: test\nservices:\n- name: server\n  commands: ['exit 5']\n\
         steps:\n- name: wait\n  commands: [sleep 0.2]\n- name: use\n  commands: [echo used]\n",
    );
    project
        .exec(&[])
        .ended_with(0)
        .says("server: failed, ignored: exit code 5")
        .says("used");
}

#[test]
fn steps_with_dependencies_run_as_a_graph() {
    let meet = |mine: &str, other: &str| {
        format!("['touch {mine}; until [ -e {other} ]; do sleep 0.05; done']")
    };
    let project = Project::with_steps(&format!(
        "- name: join\n  depends_on: [a, b]\n  commands: [ls a b]\n\
         - name: a\n  depends_on: [clone]\n  commands: {}\n\
         - name: b\n  commands: {}\n",
        meet("a", "b"),
        meet("b", "a")
    ));
    assert_eq!(
        project
            .exec(&["--timeout", "60s"])
            .ended_with(0)
            .log_of("join"),
        "+ ls a b\na\nb\n"
    );
}

#[test]
fn two_runs_at_once_never_see_each_others_machines() {
    let project = Project::with_steps(
        "- name: meet\n  commands: ['touch $MEET/$MINE; until [ -e $MEET/$OTHER ]; do sleep 0.05; done']\n",
    );
    let meet = project.path().join("meet");
    fs::create_dir(&meet).unwrap();
    let variables =
        |mine: u32, other: u32| format!("MEET={}\nMINE={mine}\nOTHER={other}\n", meet.display());
    project.write("1.env", &variables(1, 2));
    project.write("2.env", &variables(2, 1));
    let runs = ["1.env", "2.env"]
        .map(|file| project.start(&["--timeout", "60s", "--json", "--env-file", file]));
    let machines = runs.map(|run| {
        let events = run.end().ended_with(0).events();
        let acquired = events.iter().find(|event| event["event"] == "acquired");
        acquired.expect("a machine")["machine"]
            .as_str()
            .expect("its id")
            .to_owned()
    });
    assert_ne!(machines[0], machines[1]);
    project.wait_until_nothing_is_left();
    assert!(project.states().is_empty());
}
