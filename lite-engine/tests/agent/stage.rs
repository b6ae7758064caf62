//! A stage from its preparation to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tonic::Code;
use vmpool_core::agent::{Clocks, EndReason};
use vmpool_proto::agent::v1::step_ended::How;
use vmpool_proto::agent::v1::{CleanupRequest, File, OpenRequest, PrepareRequest, StartStep};

use crate::support::{
    Disk, LONG, Run, STAGE, TERM, attach, exited, is, preparation, run, shell, variables,
};

fn cleanup() -> CleanupRequest {
    CleanupRequest {
        term: TERM,
        stage_id: STAGE.into(),
    }
}

#[tokio::test]
async fn a_step_finds_the_stage_s_folder_files_and_environment() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.ruled().await;
    let request = PrepareRequest {
        workdir: Some("project".into()),
        env: variables([("WHO", "stage"), ("KEEP", "kept")]),
        files: vec![File {
            path: "in/data".into(),
            mode: 0o640,
            content: b"\xff\0".to_vec(),
        }],
        ..preparation()
    };
    let workdir = runner
        .prepare(request)
        .await
        .expect("prepared")
        .into_inner()
        .workdir;
    let step = StartStep {
        env: variables([("WHO", "step")]),
        secret_env: variables([("TOKEN", "hunter2")]),
        ..shell(
            "step",
            "pwd; echo $WHO $KEEP ${#TOKEN}; stat -c %a in/data; od -An -tx1 in/data",
        )
    };
    let (ended, log) = run(&runner, step).await;
    assert!(exited(&ended, 0), "{ended:?}");
    assert_eq!(log, format!("{workdir}\nstep kept 7\n640\n ff 00\n"));
    let step = StartStep {
        workdir: Some("in".into()),
        ..shell("in", "pwd; ls")
    };
    assert_eq!(run(&runner, step).await.1, format!("{workdir}/in\ndata\n"));
}

#[tokio::test]
async fn p11_secrets_of_the_stage_and_of_the_step_are_masked_and_not_left_on_the_disk() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.ruled().await;
    let request = PrepareRequest {
        env: variables([("STAGE_TOKEN", "correct horse")]),
        secrets: vec!["correct horse".into()],
        ..preparation()
    };
    runner.prepare(request).await.expect("prepared");
    let step = StartStep {
        secret_env: variables([("TOKEN", "hunter2")]),
        ..shell("step", "echo $STAGE_TOKEN, $TOKEN")
    };
    let (_, log) = run(&runner, step).await;
    assert_eq!(log, "******, ******\n");
    let holding = |secret: &str| files_with(&disk.path(), secret.as_bytes());
    assert_eq!(holding("hunter2"), Vec::<String>::new());
    let setup = disk.path().join("agent/setup");
    assert_eq!(holding("correct horse"), [setup.display().to_string()]);
    let mode = fs::metadata(&setup).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    runner.cleanup(cleanup()).await.expect("cleaned up");
    assert_eq!(holding("correct horse"), Vec::<String>::new());
}

fn files_with(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), bytes));
        } else if kind.is_file() {
            let content = fs::read(entry.path()).expect("readable");
            if content.windows(bytes.len()).any(|window| window == bytes) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn p10_cleaning_up_ends_what_runs_and_leaves_results_and_logs() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.prepared().await;
    run(&runner, shell("done", "echo text > file; cat file; exit 3")).await;
    let mut running = Run::start(&runner, shell("runs", "echo begun; sleep 1000")).await;
    let running = running.as_mut().expect("started");
    running.lines(1).await.expect("a line");
    let (cleaned, ended) = tokio::join!(runner.cleanup(cleanup()), running.end());
    cleaned.expect("cleaned up");
    assert_eq!(ended.expect("ended").how(), How::Cancelled);
    assert!(!disk.path().join("host/stage").exists());
    runner.cleanup(cleanup()).await.expect("again");

    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert!(report.ended && !report.prepared);
    assert_eq!(report.steps.len(), 2);
    let mut done = Run::attach(&runner, attach("done", 0))
        .await
        .expect("attached");
    assert!(exited(&done.end().await.expect("ended"), 3));
    assert_eq!(done.text(), "text\n");
    let late = Run::start(&runner, shell("late", "true")).await.map(drop);
    let status = late.expect_err("ended");
    assert!(
        is(
            &status,
            Code::FailedPrecondition,
            "vmpool-reason",
            "STAGE_ENDED"
        ),
        "{status:?}"
    );
}

#[tokio::test]
async fn p10_the_stage_s_deadline_ends_its_steps() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.ruled().await;
    let request = PrepareRequest {
        deadline_ms: 500,
        ..preparation()
    };
    runner.prepare(request).await.expect("prepared");
    let (ended, _) = run(&runner, shell("step", "sleep 1000")).await;
    assert_eq!(ended.how(), How::TimedOut);
}

#[tokio::test]
async fn a_failed_preparation_says_why_and_may_be_tried_again() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.ruled().await;
    let obstacle = disk.path().join("obstacle");
    fs::write(&obstacle, "").expect("written");
    let workdir = Some(obstacle.join("work").display().to_string());
    let request = PrepareRequest {
        workdir,
        ..preparation()
    };
    let status = runner
        .prepare(request.clone())
        .await
        .expect_err("in the way");
    assert!(status.message().contains("obstacle"), "{status:?}");
    fs::remove_file(&obstacle).expect("removed");
    runner.prepare(request).await.expect("prepared");
}

#[tokio::test]
async fn p1_a_machine_that_nobody_rules_ends_itself() {
    let mut disk = Disk::new();
    let soon = Duration::from_millis(200);
    disk.clocks = Clocks {
        boot: soon,
        ..Clocks::default()
    };
    let over = tokio::time::timeout(LONG, disk.agent().over())
        .await
        .expect("over");
    assert_eq!(over, EndReason::NotEnrolled { within: soon });

    let mut disk = Disk::new();
    disk.clocks = Clocks {
        idle: soon,
        ..Clocks::default()
    };
    let (agent, mut runner) = disk.ruled().await;
    let over = tokio::time::timeout(LONG, agent.over())
        .await
        .expect("over");
    assert_eq!(over, EndReason::Idle { since: soon });
    let status = runner.prepare(preparation()).await.expect_err("ending");
    assert!(
        is(
            &status,
            Code::FailedPrecondition,
            "vmpool-reason",
            "MACHINE_ENDING"
        ),
        "{status:?}"
    );
}

#[tokio::test]
async fn p10_a_machine_that_ends_kills_its_steps() {
    let disk = Disk::new();
    let (agent, runner) = disk.prepared().await;
    let step = shell(
        "step",
        "trap '' TERM; echo $$; while :; do sleep 1000; done",
    );
    let mut running = Run::start(&runner, step).await.expect("started");
    running.lines(1).await.expect("a line");
    agent.kill_all().await;
    assert!(!Path::new("/proc").join(running.text().trim()).exists());
}
