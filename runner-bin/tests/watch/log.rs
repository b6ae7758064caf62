//! The runner's log: lines for programs, with stable fields and without colours.

use std::path::Path;

use serde_json::Value;

use crate::support::{Site, step};

#[tokio::test(flavor = "multi_thread")]
async fn p11_a_program_reads_what_a_build_did_by_its_fields_and_no_secret() {
    let site = Site::new(1, 2);
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    command.args([
        "--json-logs",
        "--log-level",
        "trace,h2=info,hyper_util=info",
    ]);
    let runner = site.ready(&mut command).await;
    let secret = "s3cret-of-a-build";
    let setup = serde_json::json!({"id": "S1", "pool_id": "linux", "setup_request": {
        "envs": {"TOKEN": secret}, "secrets": [secret]}});
    let machine = site.insist("/setup", &setup).await.machine();
    let answer = site
        .insist("/step", &step("S1", "one", &format!("echo {secret}")))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    site.destroy("S1").await;
    assert!(runner.stop().await.success());
    let said = site.said();
    assert!(!said.contains('\u{1b}'), "a colour is in the log");
    assert!(!said.contains(secret), "a secret is in the log");
    let lines = said.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines
        .collect::<Result<_, _>>()
        .expect("a JSON object a line");
    for (message, fields) in [
        (
            "a stage has its machine",
            &["pool", "stage", "machine", "took_ms"][..],
        ),
        (
            "a step ended",
            &["pool", "stage", "step", "outcome", "took_ms"],
        ),
        ("a stage ended", &["pool", "stage", "machine", "cause"]),
    ] {
        let mut all = lines.iter();
        let line = all.find(|line| line["message"] == message);
        let line = line.unwrap_or_else(|| panic!("nobody said: {message}: {said}"));
        for field in fields.iter().chain(&["timestamp", "level", "target"]) {
            assert!(!line[*field].is_null(), "{field} of {line}");
        }
        assert_eq!(line["stage"], "S1");
        assert!(line["machine"].is_null() || line["machine"] == machine.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_a_level_that_is_none_is_refused() {
    let site = Site::new(1, 2);
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let ended = command
        .args(["--log-level", "a=b=c"])
        .status()
        .expect("run vmpool");
    assert_eq!(ended.code(), Some(2));
    assert!(site.said().contains("--log-level a=b=c"), "{}", site.said());
}
