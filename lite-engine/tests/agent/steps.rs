//! Steps through the service: results, logs, cancellation, acknowledgement.

use tonic::Code;
use vmpool_proto::agent::v1::step_ended::How;
use vmpool_proto::agent::v1::{CancelRequest, Limits, OpenRequest, StartStep};

use crate::support::{Disk, Run, STAGE, TERM, attach, exited, is, run, shell};

#[tokio::test]
async fn each_way_to_end_is_told_apart() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    let timed = |step| StartStep {
        timeout_ms: Some(100),
        ..step
    };
    let greedy = StartStep {
        limits: Some(Limits {
            memory_bytes: Some(64 << 20),
            processes: Some(50),
        }),
        ..shell("greedy", "python3 -c 'bytearray(256 << 20)'")
    };
    let absent = StartStep {
        command: vec!["no-such-program".into()],
        ..shell("absent", "")
    };
    let cases = [
        (shell("0", "exit 0"), How::Exited, 0),
        (shell("7", "exit 7"), How::Exited, 7),
        (shell("signal", "kill -KILL $$"), How::Signalled, 9),
        (
            timed(shell("timeout", "sleep 1000 & sleep 1000")),
            How::TimedOut,
            0,
        ),
        (greedy, How::OutOfMemory, 0),
        (absent, How::NotStarted, 0),
    ];
    for (step, how, code) in cases {
        let id = step.step_id.clone();
        let (ended, _) = run(&runner, step).await;
        assert_eq!((ended.how(), ended.code), (how, code), "{id}");
        assert_eq!(
            how == How::NotStarted,
            !ended.reason.is_empty(),
            "{id}: {}",
            ended.reason
        );
    }
}

#[tokio::test]
async fn a_cancelled_step_is_told_to_whoever_follows_it() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.prepared().await;
    let mut one = Run::start(&runner, shell("step", "echo text; sleep 1000"))
        .await
        .expect("started");
    let mut other = Run::attach(&runner, attach("step", 2)).await;
    let other = other.as_mut();
    one.lines(1).await.expect("a line");
    let cancel = CancelRequest {
        term: TERM,
        stage_id: STAGE.into(),
        step_id: "step".into(),
    };
    runner.cancel(cancel.clone()).await.expect("cancelled");
    let ended = one.end().await.expect("ended");
    assert_eq!(ended.how(), How::Cancelled);
    if let Ok(other) = other {
        assert_eq!(other.end().await.expect("ended"), ended);
        assert_eq!(other.text(), "xt\n");
    }
    runner
        .cancel(cancel)
        .await
        .expect("no error when it has ended");
}

#[tokio::test]
async fn a_runner_that_leaves_does_not_end_its_step() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    let script = "echo begun; while ! test -e go; do sleep 0.01; done; echo ended";
    let mut left = Run::start(&runner, shell("step", script))
        .await
        .expect("started");
    left.lines(1).await.expect("a line");
    drop(left);
    run(&runner, shell("go", "touch go")).await;
    let mut back = Run::attach(&runner, attach("step", 6))
        .await
        .expect("attached");
    assert!(exited(&back.end().await.expect("ended"), 0));
    assert_eq!(back.text(), "ended\n");
}

#[tokio::test]
async fn what_was_acknowledged_is_not_given_again_and_beyond_the_log_nothing_is() {
    let disk = Disk::new();
    let (_agent, mut runner) = disk.prepared().await;
    let mut step = Run::start(&runner, shell("step", "echo text"))
        .await
        .expect("started");
    step.lines(1).await.expect("a line");
    step.acknowledge(5).await;
    step.end().await.expect("ended");

    let mut again = Run::attach(&runner, attach("step", 0))
        .await
        .expect("attached");
    again.acknowledge(5).await;
    // Whether the log was released before it was read or after, the end is told.
    let ended = again.end().await.expect("ended");
    assert_eq!(ended.log_end, 5);

    let again = Run::attach(&runner, attach("step", 5))
        .await
        .expect("attached");
    again.acknowledge(6).await;
    let beyond = Run::attach(&runner, attach("step", 6))
        .await
        .map(drop)
        .expect_err("beyond");
    assert!(
        is(&beyond, Code::InvalidArgument, "vmpool-field", "log_offset"),
        "{beyond:?}"
    );
    let report = runner
        .open(OpenRequest { term: TERM })
        .await
        .expect("opened")
        .into_inner();
    assert_eq!(report.steps[0].log_end, 5);
}

#[tokio::test]
async fn a_million_lines_come_through() {
    let disk = Disk::new();
    let (_agent, runner) = disk.prepared().await;
    let (ended, log) = run(&runner, shell("step", "seq 1000000")).await;
    assert!(exited(&ended, 0));
    assert_eq!(log.len() as u64, ended.log_end);
    assert!(
        log.lines()
            .zip(1..)
            .all(|(line, number)| line == number.to_string())
    );
    assert_eq!(log.lines().count(), 1_000_000);
}
