use vmpool_pipeline::{Dialect, Facts, Variables, parse};

use super::*;

fn given() -> Given {
    Given {
        build: Build {
            facts: Facts {
                event: "push".into(),
                branch: "main".into(),
                ..Facts::default()
            },
            ..Build::default()
        },
        choice: Choice::default(),
        secrets: Secrets::default(),
        env: BTreeMap::new(),
        directory: "/src".into(),
        program: "/bin/vmpool".into(),
        mount: false,
        ignore_image: false,
        timeout: None,
    }
}

fn plan(text: &str, given: &Given) -> Result<Plan, PlanError> {
    let parsed = parse(".vmpool.yml", text, Dialect::Vmpool, &Variables::new()).expect("a file");
    Plan::new(&parsed.file, given)
}

const TWO_STEPS: &str = "
kind: pipeline
steps:
- name: build
  commands: [make]
- name: check
  commands: [make check]
";

/// The tasks of the first pipeline, each with what it waits for.
fn order(plan: &Plan) -> Vec<String> {
    plan.pipelines[0]
        .schedule
        .tasks()
        .map(|(task, _)| format!("{} after {:?}", task.name, task.depends_on))
        .collect()
}

fn step(plan: &Plan, number: usize) -> Step {
    match &plan.pipelines[0].tasks[number].run {
        Runnable::Step(step) => step.starting("m", 1, Failed::default()),
        Runnable::Refused(reason) => panic!("{reason}"),
    }
}

#[test]
fn the_clone_comes_first_unless_it_is_not_wanted() {
    let with_clone = plan(TWO_STEPS, &given()).unwrap();
    assert_eq!(
        order(&with_clone),
        [
            r"clone after []",
            r#"build after ["clone"]"#,
            r#"check after ["build"]"#
        ]
    );
    let line = step(&with_clone, 0).command;
    assert_eq!(
        line[3..],
        [
            "./workspace/src",
            "/bin/vmpool",
            "clone-workspace",
            "--",
            "/src"
        ]
    );

    let without = ["build after []", r#"check after ["build"]"#];
    let mounted = Given {
        mount: true,
        ..given()
    };
    assert_eq!(order(&plan(TWO_STEPS, &mounted).unwrap()), without);
    let excluded = Given {
        choice: Choice {
            exclude: vec!["clone".into()],
            ..Choice::default()
        },
        ..given()
    };
    assert_eq!(order(&plan(TWO_STEPS, &excluded).unwrap()), without);
    let disabled = format!("{TWO_STEPS}clone: {{disable: true}}\n");
    assert_eq!(order(&plan(&disabled, &given()).unwrap()), without);
    let shallow = format!("{TWO_STEPS}clone: {{depth: 3}}\n");
    assert!(
        step(&plan(&shallow, &given()).unwrap(), 0)
            .command
            .contains(&"--depth=3".into())
    );
}

#[test]
fn a_step_of_the_name_clone_is_left_alone() {
    let text = "kind: pipeline\nsteps:\n- name: clone\n  commands: [git clone x]\n";
    assert_eq!(
        order(&plan(text, &given()).unwrap()),
        [
            "clone-workspace after []",
            r#"clone after ["clone-workspace"]"#
        ]
    );
}

#[test]
fn commands_go_into_a_script_and_not_into_an_argument() {
    let plan = plan(TWO_STEPS, &given()).unwrap();
    let check = step(&plan, 2);
    assert!(
        check
            .command
            .iter()
            .all(|argument| !argument.contains("make"))
    );
    let file = &plan.pipelines[0].setup.files[1];
    assert_eq!(file.path.to_str(), Some("scripts/1"));
    assert!(file.content.expose().ends_with("\nmake check\n"));
}

#[test]
fn a_pipeline_of_which_nothing_runs_needs_no_machine() {
    let text = "
kind: pipeline
services: [{name: db, commands: [x]}]
steps:
- name: a
  commands: [x]
  when: {branch: other}
";
    let plan = plan(text, &given()).unwrap();
    assert_eq!(plan.may_run(), 0);
    let (task, _) = plan.schedule.tasks().next().unwrap();
    assert_eq!(task.skip.as_deref(), Some("branch main is not in [other]"));
}

#[test]
fn an_unknown_step_is_refused() {
    let choice = Choice {
        include: vec!["biuld".into()],
        ..Choice::default()
    };
    let error = plan(TWO_STEPS, &Given { choice, ..given() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--include biuld: there is no step of this name; there are build, check"
    );
}

#[test]
fn variables_of_the_step_itself_stay() {
    let text = "
kind: pipeline
environment: {DRONE_STEP_NAME: pipeline, A: pipeline}
steps:
- name: a
  environment: {DRONE_BUILD_STATUS: step}
  commands: [x]
";
    let env = step(&plan(text, &given()).unwrap(), 1).env;
    assert_eq!(env["DRONE_STEP_NAME"], "a");
    assert_eq!(env["DRONE_BUILD_STATUS"], "step");
    assert_eq!(env["A"], "pipeline");
    assert_eq!(env["DRONE_STAGE_MACHINE"], "m");
    assert_eq!(env["DRONE_STEP_NUMBER"], "1");
}

#[test]
fn a_timeout_of_the_file_goes_over_the_options() {
    let minute = Duration::from_mins(1);
    let by_option = Given {
        timeout: Some(minute),
        ..given()
    };
    let own = format!("{TWO_STEPS}timeout: 2m\n");
    assert_eq!(
        plan(TWO_STEPS, &given()).unwrap().pipelines[0].timeout,
        None
    );
    assert_eq!(
        plan(TWO_STEPS, &by_option).unwrap().pipelines[0].timeout,
        Some(minute)
    );
    assert_eq!(
        plan(&own, &by_option).unwrap().pipelines[0].timeout,
        Some(2 * minute)
    );
}

#[test]
fn what_differs_on_this_host_is_warned_of() {
    let text = "
kind: pipeline
platform: {os: plan9, arch: pdp11}
steps:
- {name: a, image: alpine, commands: [x], environment: {T: {from_secret: t}}}
- {name: b, image: alpine, commands: [x], environment: {T: {from_secret: t}}}
- {name: c, image: alpine, commands: [x], when: {branch: other}}
";
    let given = Given {
        ignore_image: true,
        ..given()
    };
    let warnings = plan(text, &given).unwrap().warnings;
    assert!(warnings[0].starts_with("pipeline default: it is for plan9/pdp11 and runs on this"));
    assert_eq!(
        warnings[1..],
        [
            "without their images, on this host: a (alpine), b (alpine)",
            "the secret t has no value, so it is empty in a, b; --secret-file gives it one",
        ]
    );
}
