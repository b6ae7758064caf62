//! P10: a step that is over its time, cancelled, or ended leaves no process behind.

use std::time::{Duration, Instant};

use lite_engine::host::Cancel;
use vmpool_core::StepStatus;

use crate::support::{
    EXITED_0, Machine, ended, is_alive, lines, pid, processes_of, until, whole_log,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn p10_over_time_two_sleeps_are_gone_long_before_the_grace_is_over() {
    let mut machine = Machine::new();
    machine.grace = Duration::from_secs(1000);
    let host = machine.host();
    let mut order = machine.shell("step", "sleep 1000 & echo $!; sleep 1000");
    order.timeout = Some(SECOND);
    let step = host.start(order).await.expect("started");
    let sleep = pid(&lines(&step, 1).await[0]);
    let outcome = ended(&step).await;
    assert_eq!(outcome.status, StepStatus::TimedOut);
    assert!(outcome.ended_at.since(outcome.started_at) >= SECOND);
    assert!(!is_alive(sleep));
    assert_eq!(processes_of(&machine.mark("step")), Vec::<i32>::new());
}

#[tokio::test]
async fn p10_a_step_that_ignores_the_request_is_killed_when_its_grace_is_over() {
    let mut machine = Machine::new();
    machine.grace = Duration::from_millis(200);
    let host = machine.host();
    let script = "trap '' TERM INT HUP; echo $$; while :; do sleep 1000; done";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    let shell = pid(&lines(&step, 1).await[0]);
    step.cancel(Cancel::WithGrace).expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    assert!(!is_alive(shell));
}

#[tokio::test]
async fn a_step_may_use_its_grace_to_clean_up() {
    let machine = Machine::new();
    let host = machine.host();
    let script = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    lines(&step, 1).await;
    step.cancel(Cancel::WithGrace).expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    let log = whole_log(&step).await;
    assert!(
        log.ends_with(b"cleaned up\n"),
        "{}",
        String::from_utf8_lossy(&log)
    );
}

#[tokio::test]
async fn p10_cancelling_at_once_asks_nobody() {
    let mut machine = Machine::new();
    machine.grace = Duration::from_secs(1000);
    let host = machine.host();
    let script = "trap '' TERM; echo $$; while :; do sleep 1000; done";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    let shell = pid(&lines(&step, 1).await[0]);
    step.cancel(Cancel::WithGrace).expect("asked");
    step.cancel(Cancel::AtOnce).expect("forced");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    assert!(!is_alive(shell));
    step.cancel(Cancel::AtOnce)
        .expect("a step that is over is no error");
}

/// Leaves a process that is a daemon by the book: forked twice, in its own
/// session, without any output of the step, without its environment.
const DAEMON: &str = "(env -i PATH=$PATH setsid sh -c 'echo $$ > daemon; exec sleep 1000' \
                      < /dev/null > /dev/null 2>&1 &) & while ! test -s daemon; do sleep 0.01; done";

#[tokio::test]
async fn p10_a_daemon_that_left_group_and_session_ends_with_its_step() {
    let machine = Machine::new();
    let (status, _) = machine.run(DAEMON).await;
    assert_eq!(status, EXITED_0);
    let daemon = std::fs::read_to_string(machine.path().join("daemon")).expect("its pid");
    assert!(!is_alive(pid(&daemon)));
}

#[tokio::test]
async fn p10_a_daemon_is_asked_too_when_its_step_is_over_its_time() {
    let mut machine = Machine::new();
    machine.grace = Duration::from_secs(1000);
    let host = machine.host();
    let step = host
        .start(machine.shell("step", &format!("{DAEMON}; echo ready; sleep 1000")))
        .await;
    let step = step.expect("started");
    lines(&step, 1).await;
    step.cancel(Cancel::WithGrace).expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    let daemon = std::fs::read_to_string(machine.path().join("daemon")).expect("its pid");
    assert!(!is_alive(pid(&daemon)));
}

#[tokio::test]
async fn p10_a_background_process_that_holds_the_pipe_does_not_hold_the_step() {
    let machine = Machine::new();
    let begin = Instant::now();
    let (status, log) = machine.run("sleep 1000 & echo $!").await;
    assert_eq!(status, EXITED_0);
    assert!(!is_alive(pid(&log)));
    assert!(begin.elapsed() < 500 * SECOND);
}

#[tokio::test]
async fn p10_a_fork_loop_is_ended() {
    let machine = Machine::new();
    let host = machine.host();
    // Each process forks the next in a session of its own and goes: nobody to
    // wait for, no group to signal.
    let script =
        "f() { setsid sh -c \"$LOOP\" > /dev/null 2>&1 & }; echo ready; eval \"$LOOP\"; sleep 1000";
    let mut order = machine.shell("step", script);
    order.env.insert(
        "LOOP".into(),
        "setsid sh -c \"$LOOP\" & setsid sh -c 'sleep 0.01' &".into(),
    );
    order.timeout = Some(SECOND);
    let step = host.start(order).await.expect("started");
    assert_eq!(ended(&step).await.status, StepStatus::TimedOut);
    assert_eq!(processes_of(&machine.mark("step")), Vec::<i32>::new());
}

#[tokio::test]
async fn a_detached_step_lasts_as_long_as_what_it_started_and_ends_when_told() {
    let machine = Machine::new();
    let host = machine.host();
    let mut order = machine.shell("service", "sleep 1000 & echo $!; exit 7");
    order.detached = true;
    let step = host.start(order).await.expect("started");
    let service = pid(&lines(&step, 1).await[0]);
    until("the shell's end", || {
        processes_of(&machine.mark("service")).len() == 1
    })
    .await;
    assert!(is_alive(service) && step.outcome().is_none());
    step.cancel(Cancel::WithGrace).expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Exited { code: 7 });
    assert!(!is_alive(service));
}

#[tokio::test]
async fn p10_a_step_that_closes_its_output_is_waited_for_and_can_be_ended() {
    let machine = Machine::new();
    let host = machine.host();
    let script = "echo $$; exec > /dev/null 2>&1; touch closed; sleep 1000";
    let step = host
        .start(machine.shell("step", script))
        .await
        .expect("started");
    let shell = pid(&lines(&step, 1).await[0]);
    until("the file", || machine.path().join("closed").exists()).await;
    assert!(step.outcome().is_none());
    step.cancel(Cancel::WithGrace).expect("asked");
    assert_eq!(ended(&step).await.status, StepStatus::Cancelled);
    assert!(!is_alive(shell));
}
