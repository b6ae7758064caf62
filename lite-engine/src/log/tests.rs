//! Logs on a real file system, without any process.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;

const SPACE: LogSpace = LogSpace {
    segment_bytes: 8,
    stage_bytes: 24,
};

struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn step(&self, name: &str) -> (LogWriter, StepLog) {
        (LogWriter::new(self.0.path(), name, SPACE), self.log(name))
    }

    fn log(&self, name: &str) -> StepLog {
        StepLog::new(self.0.path(), name, SPACE.segment_bytes, 0)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.0.path()).expect("listed").count()
    }
}

fn running(written: u64) -> Progress {
    Progress {
        written,
        ended: false,
    }
}

fn ended(written: u64) -> Progress {
    Progress {
        written,
        ended: true,
    }
}

async fn all(log: StepLog, progress: Progress, from: u64) -> Result<Vec<u8>, LogError> {
    let (_keep, progress) = watch::channel(progress);
    let mut reader = LogReader::new(Arc::new(log), progress, CancellationToken::new(), from);
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await? {
        assert_eq!(chunk.offset, from + bytes.len() as u64);
        bytes.extend_from_slice(&chunk.bytes);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_log_reads_the_same_from_every_offset() {
    let stage = Stage::new();
    let (mut writer, _) = stage.step("a");
    let text = b"twenty bytes of text";
    assert_eq!(writer.append(text, false).expect("space"), text.len());
    for from in 0..=text.len() {
        let (progress, from_offset) = (ended(text.len() as u64), from as u64);
        let log = stage.log("a");
        assert_eq!(
            all(log, progress, from_offset).await.expect("the log"),
            &text[from..]
        );
    }
}

#[tokio::test]
async fn reading_behind_the_end_or_before_what_was_released_is_an_error() {
    let stage = Stage::new();
    let (mut writer, log) = stage.step("a");
    writer.append(b"twelve bytes", false).expect("space");
    assert!(log.release(9, running(12)).expect("released"));
    let early = all(stage.log("a"), ended(12), 7).await;
    assert!(
        matches!(early, Err(LogError::Released { offset: 7 })),
        "{early:?}"
    );
    let late = all(stage.log("a"), ended(12), 13).await;
    assert!(
        matches!(
            late,
            Err(LogError::BehindEnd {
                offset: 13,
                end: 12
            })
        ),
        "{late:?}"
    );
    assert_eq!(all(log, ended(12), 8).await.expect("what is left"), b"ytes");
}

#[test]
fn at_the_limit_a_step_gets_no_space_until_what_it_wrote_was_taken() {
    let stage = Stage::new();
    let (mut first, log) = stage.step("a");
    let (mut second, _) = stage.step("b");
    assert_eq!(second.append(b"yyyy", false).expect("space"), 4);
    let written = first.append(&[b'x'; 40], false).expect("space");
    assert_eq!(written, 16, "no third segment fits beside these");
    let written = second.append(&[b'y'; 40], false).expect("space");
    assert_eq!(written, 4, "it may fill what it has");
    assert_eq!(first.append(b"more", false).expect("no error"), 0);
    let freed = log.release(7, running(16)).expect("released");
    assert!(!freed, "no whole segment was taken");
    assert!(log.release(8, running(16)).expect("released"));
    assert_eq!(first.append(b"more", false).expect("space"), 4);
    assert_eq!(first.offset(), 20);
    assert_eq!(
        second.append(b"more", true).expect("space"),
        4,
        "the last bytes of an ended step"
    );
}

#[test]
fn a_step_whose_bytes_were_all_taken_goes_on_though_others_fill_the_limit() {
    let stage = Stage::new();
    let (mut writer, log) = stage.step("a");
    writer.append(&[b'x'; 8], false).expect("space");
    for name in ["b", "c"] {
        let (mut other, _) = stage.step(name);
        other.append(&[b'y'; 8], false).expect("a first segment");
    }
    assert_eq!(writer.append(b"more", false).expect("no error"), 0);
    assert!(log.release(8, running(8)).expect("released"));
    let again = stage.log("a");
    let begin = beginnings(stage.0.path()).expect("listed")["a"];
    assert_eq!(
        again.measure(begin).expect("measured"),
        8,
        "the end stays known"
    );
    assert_eq!(writer.append(b"more", false).expect("space"), 4);
    assert_eq!(again.measure(8).expect("measured"), 12);
}

#[test]
fn a_log_that_ended_goes_completely_when_all_was_taken() {
    let stage = Stage::new();
    let (mut writer, log) = stage.step("a");
    writer.append(b"twelve bytes", false).expect("space");
    log.release(11, ended(12)).expect("released");
    assert_eq!(stage.files(), 1);
    log.release(12, ended(12)).expect("released");
    assert_eq!(stage.files(), 0);
    assert_eq!(log.begin(), 12);
}

#[test]
fn a_log_of_which_nothing_is_written_takes_no_file() {
    let stage = Stage::new();
    let (writer, log) = stage.step("a");
    assert_eq!((writer.offset(), log.measure(0).expect("measured")), (0, 0));
    log.release(0, ended(0)).expect("released");
    assert_eq!(stage.files(), 0);
}

#[test]
fn names_that_begin_alike_are_told_apart() {
    let stage = Stage::new();
    for name in ["a", "a.0", "sha256", "sha256.12"] {
        let (mut writer, _) = stage.step(name);
        writer.append(&[b'x'; 12], true).expect("space");
    }
    let (_, log) = stage.step("a");
    log.release(8, running(12)).expect("released");
    let begin = beginnings(stage.0.path()).expect("listed");
    assert_eq!(
        (
            begin["a"],
            begin["a.0"],
            begin["sha256"],
            begin["sha256.12"]
        ),
        (8, 0, 0, 0)
    );
}

#[test]
fn measuring_follows_the_log_over_full_segments() {
    let stage = Stage::new();
    let (mut writer, log) = stage.step("a");
    assert_eq!(log.measure(0).expect("measured"), 0);
    writer.append(&[b'x'; 24], false).expect("space");
    assert_eq!(log.measure(0).expect("measured"), 24);
    assert_eq!(log.measure(17).expect("measured"), 24);
}

#[tokio::test]
async fn what_follows_a_log_is_waited_for_and_read_at_any_offset() {
    let stage = Stage::new();
    let (mut writer, _) = stage.step("step");
    writer.append(b"0123456789", false).expect("written");
    let (tell, tail) = watch::channel(None);
    let (_keep, progress) = watch::channel(ended(10));
    let reader = |offset| {
        let log = Arc::new(stage.log("step"));
        let reader = LogReader::new(log, progress.clone(), CancellationToken::new(), offset);
        reader.followed_by(tail.clone())
    };
    let mut waiting = reader(8);
    let first = waiting.next().await.expect("read").expect("bytes");
    assert_eq!(&first.bytes[..], b"89");
    let follow = async {
        let chunk = waiting.next().await.expect("read").expect("bytes");
        assert_eq!((chunk.offset, &chunk.bytes[..]), (10, &b"table"[..]));
        assert_eq!(waiting.next().await.expect("read"), None);
    };
    tokio::join!(follow, async {
        tell.send_replace(Some("table".into()));
    });
    let rest = reader(13).next().await.expect("read").expect("bytes");
    assert_eq!(&rest.bytes[..], b"le");
    assert_eq!(reader(15).next().await.expect("read"), None);
    assert!(matches!(
        reader(16).next().await,
        Err(LogError::BehindEnd {
            offset: 16,
            end: 15
        })
    ));
}
