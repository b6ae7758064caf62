//! A stage on the disk: prepared, and gone afterwards.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use lite_engine::host::{PlannedFile, StageError, StagePlan, StartError};
use vmpool_core::{SecretBytes, StepStatus};

use crate::support::{Machine, ended, is_alive, lines, pid, whole_log};

fn file(path: impl AsRef<Path>, mode: u32) -> PlannedFile {
    PlannedFile {
        path: path.as_ref().to_owned(),
        mode,
        content: SecretBytes::new(*b"content"),
    }
}

fn plan(workdir: Option<&Path>, files: Vec<PlannedFile>) -> StagePlan {
    StagePlan {
        workdir: workdir.map(Path::to_owned),
        files,
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path)
        .expect("there")
        .permissions()
        .mode()
        & 0o777
}

#[tokio::test]
async fn a_stage_gets_its_files_for_nobody_else_to_see_and_cleaning_up_takes_all() {
    let machine = Machine::new();
    let host = machine.host();
    let files = vec![
        file("plain", 0o600),
        file("bin/tool", 0o755),
        file("read-only", 0o400),
    ];
    let workdir = host
        .prepare(plan(None, files.clone()))
        .await
        .expect("prepared");
    assert!(workdir.starts_with(machine.path().join("host")));
    assert_eq!(
        fs::read_to_string(workdir.join("bin/tool")).expect("there"),
        "content"
    );
    assert_eq!(mode(&workdir.join("bin/tool")), 0o755);
    assert_eq!(mode(&workdir.join("read-only")), 0o400);
    assert_eq!(mode(&workdir.join("bin")), 0o700);
    assert_eq!(mode(&machine.path().join("host")), 0o700);
    assert_eq!(mode(&machine.path().join("host/logs")), 0o700);
    assert_eq!(
        host.prepare(plan(None, files))
            .await
            .expect("prepared again"),
        workdir
    );

    let step = host
        .start(machine.shell("step", "sleep 1000 & echo $!; wait"))
        .await;
    let step = step.expect("started");
    let sleep = pid(&lines(&step, 1).await[0]);
    host.clean_up().await.expect("cleaned up");
    assert!(!is_alive(sleep));
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    let host_dir = machine.path().join("host");
    assert!(!host_dir.join("stage").exists() && !host_dir.join("outside").exists());
    let log = whole_log(&step).await;
    assert!(
        !log.is_empty(),
        "a runner that comes back still finds the log"
    );
    host.clean_up().await.expect("again");

    let late = host.start(machine.shell("late", "true")).await;
    assert!(
        matches!(late, Err(StartError::StageEnded { .. })),
        "{late:?}"
    );
    let late = host.prepare(StagePlan::default()).await;
    assert!(matches!(late, Err(StageError::Ended)), "{late:?}");
}

#[tokio::test]
async fn p13_paths_that_lead_out_and_odd_modes_are_refused_by_field() {
    let machine = Machine::new();
    let host = machine.host();
    let paths = ["../out", "a/../../out", "", "/tmp/../etc/x"];
    for path in paths {
        let refused = host
            .prepare(plan(None, vec![file("fine", 0o600), file(path, 0o600)]))
            .await;
        let Err(StageError::Invalid { field, .. }) = refused else {
            panic!("{path}: {refused:?}")
        };
        assert_eq!(field, "files[1].path");
    }
    let refused = host.prepare(plan(Some(Path::new("../out")), vec![])).await;
    assert!(matches!(refused, Err(StageError::Invalid { field, .. }) if field == "workdir"));
    let refused = host.prepare(plan(None, vec![file("setuid", 0o4755)])).await;
    assert!(matches!(refused, Err(StageError::Invalid { field, .. }) if field == "files[0].mode"));
    assert!(!machine.path().join("out").exists());
}

#[tokio::test]
async fn links_in_the_stage_s_folder_are_not_followed() {
    let machine = Machine::new();
    let host = machine.host();
    let outside = machine.path().join("outside");
    fs::create_dir(&outside).expect("created");
    fs::write(outside.join("file"), "kept").expect("written");
    let workdir = host.prepare(StagePlan::default()).await.expect("prepared");
    symlink(&outside, workdir.join("link")).expect("linked");
    symlink(outside.join("file"), workdir.join("file")).expect("linked");
    let refused = host.prepare(plan(None, vec![file("link/x", 0o600)])).await;
    assert!(
        matches!(refused, Err(StageError::System { .. })),
        "{refused:?}"
    );
    host.prepare(plan(None, vec![file("file", 0o600)]))
        .await
        .expect("the link is replaced");
    host.clean_up().await.expect("cleaned up");
    assert_eq!(
        fs::read_to_string(outside.join("file")).expect("there"),
        "kept"
    );
    assert!(!outside.join("x").exists());
}

#[tokio::test]
async fn a_folder_that_was_there_is_used_in_place_and_only_what_the_stage_created_is_removed() {
    let machine = Machine::new();
    let project = machine.path().join("project");
    fs::create_dir(&project).expect("created");
    fs::write(project.join("source"), "kept").expect("written");
    let host = machine.host();
    let refused = host
        .prepare(plan(Some(&project), vec![file("source", 0o600)]))
        .await;
    assert!(
        matches!(refused, Err(StageError::Invalid { .. })),
        "{refused:?}"
    );

    let elsewhere = machine.path().join("new/deep/file");
    let files = vec![file("config/token", 0o600), file(&elsewhere, 0o600)];
    let workdir = host
        .prepare(plan(Some(&project), files.clone()))
        .await
        .expect("prepared");
    assert_eq!(workdir, project);
    assert!(elsewhere.exists());
    // Known after a restart too.
    host.close().await;
    let host = machine.host();
    host.prepare(plan(Some(&project), files))
        .await
        .expect("prepared again");
    host.clean_up().await.expect("cleaned up");
    assert_eq!(
        fs::read_to_string(project.join("source")).expect("there"),
        "kept"
    );
    assert!(!project.join("config").exists());
    assert!(!machine.path().join("new").exists());
}

#[tokio::test]
async fn a_missing_folder_is_created_and_removed_again() {
    let machine = Machine::new();
    let host = machine.host();
    let workdir = machine.path().join("drone/src");
    assert_eq!(
        host.prepare(plan(Some(&workdir), vec![]))
            .await
            .expect("prepared"),
        workdir
    );
    fs::write(workdir.join("made-by-a-step"), "").expect("written");
    host.clean_up().await.expect("cleaned up");
    assert!(!machine.path().join("drone").exists());
}
