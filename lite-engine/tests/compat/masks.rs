//! What logs do not show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Agent, setup0, step};

const MASK: &str = "**************";

/// What this step prints where these are secrets of the stage.
async fn masked(secrets: Value, script: &str) -> String {
    let agent = Agent::start();
    let caller = agent.caller();
    let mut setup = setup0();
    setup["secrets"] = secrets;
    caller.done("/setup", &setup).await;
    caller.run_next(&step("a", script)).await;
    caller.output("a").await
}

#[tokio::test]
async fn c40_p11_secrets_and_their_lines_are_fourteen_stars() {
    let secrets = json!(["s3cr3t", "multi\nline", "q", "zz"]);
    let output = masked(secrets, "echo 1 s3cr3t; echo 2 line; echo 3 q; echo 4 zz").await;
    assert_eq!(output, format!("1 {MASK}\n2 {MASK}\n3 q\n4 {MASK}\n"));
}

#[tokio::test]
async fn c41_w39_secrets_over_two_writes_and_secrets_within_others() {
    let script = "printf s3c; sleep 0.2; echo r3t; echo foobar foo";
    let output = masked(json!(["s3cr3t", "foo", "foobar"]), script).await;
    assert_eq!(output, format!("{MASK}\n{MASK} {MASK}\n"));
}

#[tokio::test]
async fn c41_p11_secrets_in_other_spellings() {
    let output = masked(
        json!(["p&ss word"]),
        "printf 'p&ss word' | base64; echo 'p%26ss%20word'",
    )
    .await;
    assert_eq!(output, format!("{MASK}\n{MASK}\n"));
}

#[tokio::test]
async fn logs_are_cleaned_of_what_expressions_match() {
    let agent = Agent::start();
    let caller = agent.caller();
    let mut setup = setup0();
    let patterns = |text: &str| {
        json!({"sanitize_config": {
            "sanitize_patterns_content": STANDARD.encode(text),
        }})
    };
    setup["log_config"] = patterns("AKIA[A-Z0-9]{8}\n\n[0-9]{4}-[0-9]{4}\n");
    caller.done("/setup", &setup).await;
    caller
        .run_next(&step("a", "echo key AKIA01234567 and 1234-5678 end"))
        .await;
    assert_eq!(
        caller.output("a").await,
        format!("key {MASK} and {MASK} end\n")
    );
    setup["log_config"] = patterns("fine\n(broken");
    let answer = caller.post("/setup", &setup).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("sanitize_patterns_content"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn w39_p11_secrets_that_a_step_returns_are_masked_from_then_on() {
    let script = "echo TOKEN=s3cr3t-0ne > $HARNESS_OUTPUT_SECRET_FILE; echo now s3cr3t-0ne";
    assert_eq!(masked(json!([]), script).await, format!("now {MASK}\n"));
}
