//! What goes to the incumbent's agent and what its answers mean, case by case.

use std::path::Path;

use vmpool_core::{Secret, StageFile};

use super::*;

fn workspace() -> &'static Path {
    Path::new("/w")
}

fn answer(exit_code: i32, error: &str) -> PollStepAnswer {
    PollStepAnswer {
        exited: true,
        exit_code,
        error: error.to_owned(),
        ..PollStepAnswer::default()
    }
}

fn not_started(reason: &str) -> StepStatus {
    StepStatus::NotStarted {
        reason: reason.to_owned(),
    }
}

fn lost(reason: &str) -> StepStatus {
    StepStatus::Lost {
        reason: reason.to_owned(),
    }
}

#[test]
fn a_result_is_what_its_code_and_its_text_say_together() {
    let wrapped = |text: &str| format!("1 error occurred:\n\t* {text}\n\n");
    let exited = |code| StepStatus::Exited { code };
    let killed = StepStatus::Signalled { signal: 0 };
    let no_file = "fork/exec /nope: no such file or directory";
    let no_program = "exec: \"nope\": executable file not found in $PATH";
    let cases = [
        (0, String::new(), exited(0)),
        (3, wrapped("exit status 3"), exited(3)),
        (3, String::new(), exited(3)),
        (-1, wrapped("exit status -1"), killed.clone()),
        // 255 may be the step's own.
        (255, wrapped("exit status 255"), exited(255)),
        (255, String::new(), exited(255)),
        // The code was overwritten, the text tells it (W23).
        (
            255,
            "2 errors occurred:\n\t* exit status 137\n\t* ran out of memory\n\n".into(),
            exited(137),
        ),
        (255, wrapped("exit status -1"), killed),
        (
            255,
            "context deadline exceeded".into(),
            StepStatus::TimedOut,
        ),
        (
            255,
            "context canceled: the stage has ended".into(),
            StepStatus::Cancelled,
        ),
        (255, no_file.into(), not_started(no_file)),
        (255, wrapped(no_program), not_started(no_program)),
        (
            255,
            "chdir /x: no such file or directory".into(),
            not_started("chdir /x: no such file or directory"),
        ),
        (
            255,
            "step entrypoint cannot be empty".into(),
            not_started("step entrypoint cannot be empty"),
        ),
        (255, "the step was lost: rebooted".into(), lost("rebooted")),
        (
            255,
            "something unheard of".into(),
            lost("something unheard of"),
        ),
        (
            255,
            "exit status of nothing".into(),
            lost("exit status of nothing"),
        ),
    ];
    for (code, error, expected) in cases {
        assert_eq!(
            status(&answer(code, &error)),
            Ok(expected),
            "{code} {error}"
        );
    }
    let oom = PollStepAnswer {
        oom_killed: true,
        ..answer(137, "oom killed")
    };
    assert_eq!(status(&oom), Ok(StepStatus::OutOfMemory));
    assert!(
        status(&PollStepAnswer::default()).is_err(),
        "it has not ended"
    );
}

#[test]
fn a_step_goes_out_with_all_that_the_incumbent_needs() {
    let mut step = Step::shell("a/b", "make");
    step.env = [
        ("A".to_owned(), "1".to_owned()),
        ("E".to_owned(), String::new()),
    ]
    .into();
    step.secret_env = [("TOKEN".to_owned(), Secret::new("t0ken"))].into();
    step.workdir = Some("sub".into());
    step.user = Some("1000".to_owned());
    step.timeout = Some(Duration::from_millis(1500));
    step.limits.memory = Some(64 << 20);
    let request = start(&step, workspace()).expect("a request");
    assert_eq!(request.id, "step-a%2Fb");
    assert_eq!(request.run.entrypoint, ["sh", "-c"]);
    assert_eq!(request.run.commands, ["make"]);
    let env = request.environment.clone().expect("W2: it is there");
    assert_eq!(env["A"], "1");
    assert_eq!(env["TOKEN"], "t0ken");
    assert_eq!(env["E"], "");
    assert_eq!(env[KEEP_EMPTY], "true", "or E would be dropped");
    assert_eq!(request.secrets, ["t0ken"]);
    assert_eq!(request.mem_limit, 64 << 20);
    assert_eq!(request.working_dir, "/w/sub");
    assert_eq!(request.user, "1000");
    assert_eq!(request.timeout, 2, "none too short");
    assert!(request.log_drone, "its output is for /stream_output");
    assert_eq!(
        request.stage_runtime_id, "",
        "W10: it would never be polled"
    );
    assert!(request.process_config.kill_process_on_context_cancel, "W25");
    assert!(
        request.process_config.kill_process_retry_interval_secs > 0,
        "W9"
    );
    assert!(!request.detach && request.image.is_empty());
}

#[test]
fn a_step_without_anything_still_has_an_environment_and_a_directory() {
    let mut step = Step::shell("a", "true");
    step.command = vec!["/bin/true".to_owned()];
    let request = start(&step, workspace()).expect("a request");
    assert_eq!(request.environment, Some(BTreeMap::new()));
    assert_eq!(request.working_dir, "/w");
    assert_eq!(request.run.entrypoint, ["/bin/true"]);
    assert!(request.run.commands.is_empty());
    assert_eq!(request.timeout, 0);
    step.timeout = Some(Duration::ZERO);
    assert_eq!(start(&step, workspace()).expect("a request").timeout, 1);
    step.timeout = Some(Duration::MAX);
    let most = start(&step, workspace()).expect("a request").timeout;
    assert!(most < i64::MAX / 1_000_000_000, "it fits in nanoseconds");
}

#[test]
fn p13_what_the_incumbent_would_pass_over_in_silence_is_refused() {
    let mut by_name = Step::shell("a", "true");
    by_name.user = Some("nobody".to_owned());
    let mut with_group = Step::shell("a", "true");
    with_group.user = Some("1000:1000".to_owned());
    let mut nothing = Step::shell("a", "true");
    nothing.command = Vec::new();
    let mut empty = Step::shell("a", "true");
    empty.command = vec![String::new(), "x".to_owned()];
    for (step, field) in [
        (by_name, "user"),
        (with_group, "user"),
        (nothing, "command"),
        (empty, "command"),
    ] {
        let error = start(&step, workspace()).expect_err(field);
        assert!(
            matches!(&error, ExecutorError::Invalid { field: named, .. } if named == field),
            "{error}"
        );
    }
    let setup = StageSetup {
        workdir: Some("/x".into()),
        ..StageSetup::default()
    };
    let error = super::setup(&setup, workspace()).expect_err("a directory");
    assert!(error.to_string().starts_with("workdir: "), "{error}");
}

#[test]
fn a_setup_goes_out_without_a_container_engine_and_with_its_files_in_the_workspace() {
    let file = |path: &str, mode| StageFile {
        path: path.into(),
        mode,
        content: Secret::new("x"),
    };
    let request = super::setup(
        &StageSetup {
            workdir: None,
            env: [("A".to_owned(), "1".to_owned())].into(),
            files: vec![file("a/b", 0o700), file("/etc/c", 0o644)],
            secrets: vec![Secret::new("s3cret")],
        },
        workspace(),
    )
    .expect("a request");
    assert_eq!(request.mount_docker_socket, Some(false));
    assert_eq!(request.envs, [("A".to_owned(), "1".to_owned())].into());
    assert_eq!(request.secrets, ["s3cret"]);
    let files: Vec<_> = request
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.mode))
        .collect();
    assert_eq!(
        files,
        [("/w/a/b", 448), ("/etc/c", 420)],
        "modes are decimal"
    );
    let volume = request.volumes[0].host.as_ref().expect("the workspace");
    assert_eq!(volume.path, "/w");
}

#[test]
fn a_stages_mark_runs_nothing_and_is_no_steps() {
    let mark = mark(&"s".into(), workspace()).expect("a request");
    assert!(mark.run.entrypoint.is_empty() && mark.run.commands.is_empty());
    assert!(mark.environment.is_some());
    assert_ne!(mark.id, step_id(&"s".into()));
}

#[test]
fn no_id_leads_out_of_its_folder_or_is_anothers() {
    let odd = ["..", "../../etc/passwd", "a b", "a%2Fb", "a/b", "ä", "."];
    for id in odd {
        let name = step_id(&id.into());
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_%".contains(&b)),
            "{name}"
        );
    }
    let long = |end: char| format!("{}{end}", "x".repeat(255));
    let names: Vec<_> = [long('a'), long('b')]
        .iter()
        .map(|id| step_id(&id.as_str().into()))
        .collect();
    assert!(names.iter().all(|name| name.len() < 220), "{names:?}");
    let mut all: Vec<_> = odd
        .iter()
        .map(|id| step_id(&(*id).into()))
        .chain(names)
        .collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}
