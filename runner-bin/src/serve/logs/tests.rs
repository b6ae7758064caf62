//! Logs on disk: no byte is lost or doubled (P4), and nobody else reads them (P11).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn logs() -> (tempfile::TempDir, FileLogs) {
    let parent = tempfile::tempdir().unwrap();
    let logs = FileLogs::new(parent.path().join("logs"));
    (parent, logs)
}

#[tokio::test]
async fn p4_bytes_that_come_twice_are_there_once() {
    let (_parent, logs) = logs();
    let (stage, step) = (StageId::new("s"), StepId::new("build"));
    let mut log = logs.open(&stage, &step).await.unwrap();
    log.write(&step, 0, b"one\ntw").await.unwrap();
    log.write(&step, 0, b"one\ntwo\n").await.unwrap();
    log.write(&step, 2, b"e\n").await.unwrap();
    assert_eq!(log.sync(&step).await.unwrap(), 8);
    assert_eq!(fs::read(logs.path(&stage, &step)).unwrap(), b"one\ntwo\n");
}

#[tokio::test]
async fn p4_a_log_goes_on_where_it_was_durable() {
    let (_parent, logs) = logs();
    let (stage, step) = (StageId::new("s"), StepId::new("build"));
    let mut first = logs.open(&stage, &step).await.unwrap();
    assert_eq!(first.write(&step, 0, b"one\n").await.unwrap(), 0);
    assert_eq!(first.sync(&step).await.unwrap(), 4);
    first.write(&step, 4, b"two\n").await.unwrap();

    // The old process of an upgrade may still write what the new one writes too.
    let mut second = logs.open(&stage, &step).await.unwrap();
    assert_eq!(second.position(&step), 8);
    first.write(&step, 8, b"three\n").await.unwrap();
    second.write(&step, 8, b"three\nfour\n").await.unwrap();
    second.sync(&step).await.unwrap();
    let text = fs::read_to_string(logs.path(&stage, &step)).unwrap();
    assert_eq!(text, "one\ntwo\nthree\nfour\n");
}

#[tokio::test]
async fn p4_a_hole_is_refused() {
    let (_parent, logs) = logs();
    let step = StepId::new("build");
    let mut log = logs.open(&StageId::new("s"), &step).await.unwrap();
    let error = log.write(&step, 7, b"x").await.unwrap_err().to_string();
    assert!(error.ends_with("the bytes up to 7 are missing"), "{error}");
}

#[tokio::test]
async fn p5_much_is_made_durable_without_being_asked() {
    let (_parent, logs) = logs();
    let step = StepId::new("build");
    let mut log = logs.open(&StageId::new("s"), &step).await.unwrap();
    let bytes = vec![b'x'; 1 << 19];
    assert_eq!(log.write(&step, 0, &bytes).await.unwrap(), 0);
    assert_eq!(log.write(&step, 1 << 19, &bytes).await.unwrap(), 1 << 20);
}

#[tokio::test]
async fn p4_a_gap_is_said_once_where_its_reader_looks() {
    let (_parent, logs) = logs();
    let (stage, step) = (StageId::new("s"), StepId::new("build"));
    let mut log = logs.open(&stage, &step).await.unwrap();
    log.write(&step, 0, b"one\n").await.unwrap();
    log.gap(&step, "the machine is gone").await.unwrap();
    let mut again = logs.open(&stage, &step).await.unwrap();
    again.gap(&step, "the machine is gone").await.unwrap();
    let text = fs::read_to_string(logs.path(&stage, &step)).unwrap();
    let mark = "[vmpool: the rest of this log is lost: the machine is gone]";
    assert_eq!(text, format!("one\n\n{mark}\n"));
}

#[tokio::test]
async fn p11_only_their_owner_reads_logs() {
    let (_parent, logs) = logs();
    let (stage, step) = (StageId::new("../s"), StepId::new("a/b"));
    logs.open(&stage, &step).await.unwrap();
    let path = logs.path(&stage, &step);
    assert!(
        path.ends_with("logs/%2E.%2Fs/a%2Fb.log"),
        "{}",
        path.display()
    );
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}
