//! The output of a step, streamed.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Agent, Answer, Caller, setup0, step, step_with};

async fn stream(caller: &Caller, id: &str, offset: i64) -> Answer {
    caller
        .post("/stream_output", &json!({"id": id, "offset": offset}))
        .await
}

#[tokio::test]
async fn c32_who_asks_before_the_start_gets_everything() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let asking = caller.clone();
    let mut asked = tokio::task::JoinSet::new();
    asked.spawn(async move { asking.output("a").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    caller
        .done("/start_step", &step("a", "echo one; sleep 0.2; echo two"))
        .await;
    let output = asked.join_next().await.expect("asked").expect("answered");
    assert_eq!(output, "one\ntwo\n");
}

#[tokio::test]
async fn c33_a_step_that_never_starts_is_waited_for_a_while() {
    let agent = Agent::start();
    let caller = agent.caller();
    let begun = Instant::now();
    stream(&caller, "never", 0)
        .await
        .is_refusal(400, "Step has not started");
    assert!(begun.elapsed() >= Duration::from_secs(4));
    stream(&caller, "", 0)
        .await
        .is_refusal(400, "ID needs to be set");
}

#[tokio::test]
async fn c33_only_steps_with_log_drone_are_streamed() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller
        .run(&step_with("a", "echo x", json!({"log_drone": false})))
        .await;
    stream(&caller, "a", 0)
        .await
        .is_refusal(400, "Step has not started");
}

#[tokio::test]
async fn c34_c35_offsets_within_and_beyond() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.run(&step("a", "printf hello-world")).await;
    for (offset, rest) in [(0, "hello-world"), (6, "world"), (11, "")] {
        let answer = stream(&caller, "a", offset).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, rest)
        );
        assert!(!answer.headers.contains_key("content-type"));
    }
    for offset in [12, -1] {
        let answer = stream(&caller, "a", offset).await;
        assert_eq!(answer.status, 500);
        let error = answer.json()["error_msg"]
            .as_str()
            .expect("an error")
            .to_owned();
        assert!(
            error.contains(&format!("out of bounds Offset={offset} Total=11")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn c36_both_outputs_are_one_ordered_stream_of_bytes() {
    let agent = Agent::start();
    let caller = agent.caller();
    let script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done; printf '\\377\\000tail'";
    caller.run(&step("a", script)).await;
    let answer = stream(&caller, "a", 0).await;
    assert_eq!(
        &answer.body[..],
        b"out1\nerr1\nout2\nerr2\nout3\nerr3\n\xff\0tail"
    );
}

#[tokio::test]
async fn c36_p11_values_named_as_secrets_are_masked_and_offsets_count_what_is_seen() {
    let agent = Agent::start();
    let caller = agent.caller();
    let mut setup = setup0();
    setup["secrets"] = json!(["stage-s3cret"]);
    caller.done("/setup", &setup).await;
    let fields = json!({"secrets": ["step-s3cret"]});
    let step = step_with(
        "a",
        "echo stage-s3cret; printf step-; sleep 0.1; echo s3cret.",
        fields,
    );
    caller.run_next(&step).await;
    let output = caller.output("a").await;
    assert!(!output.contains("s3cret"), "{output}");
    let total = i64::try_from(output.len()).expect("a length");
    assert_eq!(stream(&caller, "a", total - 2).await.text(), ".\n");
    assert_eq!(stream(&caller, "a", total + 1).await.status, 500);
}

#[tokio::test]
async fn c37_w11_readers_that_leave_or_do_not_read_hold_nobody_up() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let script =
        "i=0; while [ $i -lt 200 ]; do head -c 100000 /dev/zero | tr '\\0' x; i=$((i+1)); done";
    caller.done("/start_step", &step("a", script)).await;
    let body = json!({"id": "a", "offset": 0}).to_string();
    let mut idle = caller.open().await;
    // It has an answer, and never reads it.
    let unread = idle.send("POST", "/stream_output", &body).await;
    for _ in 0..5 {
        let mut leaving = caller.open().await;
        let mut answer = leaving.send("POST", "/stream_output", &body).await;
        answer
            .body_mut()
            .frame()
            .await
            .expect("some output")
            .expect("bytes");
    }
    let answer: Value = caller.done("/poll_step", &json!({"id": "a"})).await;
    assert_eq!(answer, json!({"exited": true}));
    assert_eq!(stream(&caller, "a", 0).await.body.len(), 20_000_000);
    assert_eq!(caller.get("/healthz").await.status, 200);
    drop(unread);
}

#[tokio::test]
async fn w2_a_step_that_can_not_begin_has_an_empty_output() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.run(&step_with("a", "", json!({"run": {}}))).await;
    assert_eq!(caller.output("a").await, "");
}
