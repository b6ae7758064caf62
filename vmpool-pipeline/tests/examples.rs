//! The example pipelines are good files, in both dialects where they use
//! nothing of ours, and their steps do what they say when run by a shell in
//! the order of the schedule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use vmpool_pipeline::{
    Choice, Dialect, EnvValue, Facts, File, Outcome, Schedule, Step, Variables, parse, script,
};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/pipelines")
        .join(name)
}

/// A file in which there is nothing to notice.
fn read(name: &str, dialect: Dialect) -> File {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let parsed = parse(name, &text, dialect, &Variables::new()).unwrap();
    assert_eq!(parsed.warnings, []);
    parsed.file
}

/// A directory of its own, gone when dropped.
struct Workspace(PathBuf);

impl Workspace {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("vmpool-pipeline-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn start(file: &File, step: &Step, workspace: &Path) -> Child {
    let environment: BTreeMap<_, _> = file.pipelines[0]
        .environment
        .iter()
        .chain(&step.environment)
        .collect();
    let mut command = Command::new("sh");
    command
        .args(["-c", &script(&step.commands)])
        .current_dir(workspace);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    for (name, value) in environment {
        let EnvValue::Plain(value) = value else {
            panic!("an example has no secrets")
        };
        command.env(name, value);
    }
    command.spawn().expect("there is a shell")
}

/// What each step printed, and whether the pipeline went well.
fn run(file: &File, workspace: &Path) -> (BTreeMap<String, String>, bool) {
    let pipeline = &file.pipelines[0];
    let mut schedule = Schedule::of_steps(pipeline, &Facts::default(), &Choice::default()).unwrap();
    let (mut running, mut detached, mut printed) = (Vec::new(), Vec::new(), BTreeMap::new());
    while !schedule.is_done() {
        for n in schedule.ready() {
            let step = pipeline.task(n).expect("the schedule is of this pipeline");
            let child = start(file, step, workspace);
            schedule.started(n);
            if step.detach {
                detached.push(child);
            } else {
                running.push((n, step, child));
            }
        }
        if let Some((n, step, child)) = running.pop() {
            let output = child.wait_with_output().unwrap();
            printed.insert(step.name.clone(), String::from_utf8(output.stdout).unwrap());
            let outcome = if output.status.success() {
                Outcome::Succeeded
            } else {
                Outcome::Failed
            };
            assert!(schedule.finished(n, outcome));
        }
    }
    for mut child in detached {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    (printed, schedule.failed().is_none())
}

#[test]
fn hello_greets_and_tolerates_a_failure() {
    let file = read("hello.yml", Dialect::Drone);
    assert_eq!(read("hello.yml", Dialect::Vmpool), file);
    let workspace = Workspace::new("hello");
    let (printed, went_well) = run(&file, &workspace.0);
    assert!(
        printed["greet"].contains("\nHello, world!\n"),
        "{printed:?}"
    );
    assert!(
        printed["part"].ends_with("\nGoodbye, world!\n"),
        "{printed:?}"
    );
    assert!(went_well);
}

#[test]
fn fan_runs_its_branches_at_the_same_time_beside_the_service() {
    let file = read("fan.yml", Dialect::Drone);
    assert_eq!(read("fan.yml", Dialect::Vmpool), file);
    let mut schedule =
        Schedule::of_steps(&file.pipelines[0], &Facts::default(), &Choice::default()).unwrap();
    assert_eq!(schedule.ready(), [0]);
    schedule.started(0);
    assert_eq!(schedule.ready(), [1, 2]);
    let workspace = Workspace::new("fan");
    let (printed, went_well) = run(&file, &workspace.0);
    assert!(
        printed["sum"].contains("\n37 times 37 is 1369\n"),
        "{printed:?}"
    );
    assert!(went_well);
}

#[test]
fn c_project_is_built_and_tested() {
    let file = read("c-project/.vmpool.yml", Dialect::of(".vmpool.yml"));
    let workspace = Workspace::new("c-project");
    for entry in std::fs::read_dir(path("c-project")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), workspace.0.join(entry.file_name())).unwrap();
    }
    let (printed, went_well) = run(&file, &workspace.0);
    assert!(printed["test"].contains("all passed"), "{printed:?}");
    assert!(went_well, "{printed:?}");
}
