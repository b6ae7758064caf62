//! An agent of the incumbent's scheme, and somebody who asks it.

mod agent;
mod caller;
mod service;

pub(crate) use agent::{Agent, PROGRAM};
pub(crate) use caller::{Answer, Caller};
pub(crate) use service::Service;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than anything takes that works at all.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A setup that asks for nothing.
pub(crate) fn setup0() -> Value {
    json!({"network": {"id": "n"}, "mount_docker_socket": false, "envs": {}})
}

/// A shell step whose output is streamed.
pub(crate) fn step(id: &str, script: &str) -> Value {
    json!({
        "id": id, "name": id, "log_drone": true, "environment": {}, "kind": "Run",
        "run": {"entrypoint": ["sh", "-c"], "commands": [script]},
    })
}

/// The same, with further fields, or others in their place.
pub(crate) fn step_with(id: &str, script: &str, fields: Value) -> Value {
    let mut step = step(id, script);
    let (Value::Object(step_fields), Value::Object(fields)) = (&mut step, fields) else {
        panic!("steps are objects");
    };
    step_fields.extend(fields);
    step
}

/// Waits until this holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, waited).await;
    assert!(waited.is_ok(), "never came: {what}");
}

/// What is in a file, once there is one.
pub(crate) async fn content(path: &Path) -> String {
    eventually(&path.display().to_string(), || {
        std::fs::read_to_string(path).is_ok_and(|text| !text.is_empty())
    })
    .await;
    std::fs::read_to_string(path).expect("it was there")
}

/// Whether a process lives.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
