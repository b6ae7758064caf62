//! What a setup leaves on the disk.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Agent, setup0, step};

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::symlink_metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o7777
}

fn with(field: &str, value: Value) -> Value {
    let mut setup = setup0();
    setup[field] = value;
    setup
}

#[tokio::test]
async fn c9_files_are_written_with_decimal_modes_and_their_parents() {
    let agent = Agent::start();
    let file = agent.path("a/b/c");
    let files = json!([{"path": file, "mode": 448, "data": "x"}]);
    let setup = with("files", files);
    agent.caller().done("/setup", &setup).await;
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "x");
    assert_eq!(mode(&file), 0o700);
    assert_eq!(mode(&agent.path("a/b")), 0o777);
    // Again, over the one that is there.
    agent.caller().done("/setup", &setup).await;
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "x");
}

#[tokio::test]
async fn c9_w32_directories_that_are_there_keep_their_permissions() {
    let agent = Agent::start();
    let old = agent.path("old");
    std::fs::create_dir(&old).expect("made");
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o750)).expect("set");
    let new = agent.path("new");
    let dir = |path: &Path| json!({"path": path, "mode": 493, "is_dir": true});
    let setup = with("files", json!([dir(&old), dir(&new)]));
    agent.caller().done("/setup", &setup).await;
    assert_eq!((mode(&old), mode(&new)), (0o750, 0o755));
}

#[tokio::test]
async fn c9_a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let agent = Agent::start();
    let target = agent.path("target");
    std::fs::write(&target, "kept").expect("written");
    let link = agent.path("link");
    std::os::unix::fs::symlink(&target, &link).expect("linked");
    let setup = with("files", json!([{"path": link, "mode": 384, "data": "new"}]));
    agent.caller().done("/setup", &setup).await;
    assert_eq!(std::fs::read_to_string(&target).expect("there"), "kept");
    assert_eq!(std::fs::read_to_string(&link).expect("there"), "new");
    assert_eq!(mode(&link), 0o600);
}

#[tokio::test]
async fn c10_volumes_are_made_and_those_that_are_there_are_left_alone() {
    let agent = Agent::start();
    let (new, old) = (agent.path("new"), agent.path("old"));
    std::fs::create_dir(&old).expect("made");
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o700)).expect("set");
    let socket = agent.path("no/docker.sock");
    let volume = |path: &Path| json!({"host": {"name": "w", "path": path}});
    let volumes = json!([volume(&new), volume(&old), volume(&socket), {"temp": {"name": "t"}}]);
    agent
        .caller()
        .done("/setup", &with("volumes", volumes))
        .await;
    assert_eq!((mode(&new), mode(&old)), (0o777, 0o700));
    assert!(!socket.exists());
}

#[tokio::test]
async fn c11_a_setup_that_needs_a_container_engine_fails_without() {
    let agent = Agent::start();
    for setup in [
        json!({"network": {"id": "n"}}),
        with("mount_docker_socket", json!(true)),
    ] {
        let answer = agent.caller().post("/setup", &setup).await;
        assert_eq!(answer.status, 500);
        let error = answer.json()["error_msg"]
            .as_str()
            .expect("an error")
            .to_owned();
        assert!(error.contains("docker daemon"), "{error}");
    }
}

#[tokio::test]
async fn c12_a_setup_may_be_repeated_and_costs_nothing() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()));
        tasks.expect("it lives").count()
    };
    let before = threads();
    for _ in 0..20 {
        assert_eq!(caller.done("/setup", &setup0()).await, json!({}));
    }
    assert!(threads() <= before + 2, "descriptors are left open");
    assert_eq!(
        caller.run_next(&step("a", "true")).await,
        json!({"exited": true})
    );
}

#[tokio::test]
async fn p13_a_file_that_can_not_be_written_is_named() {
    let agent = Agent::start();
    let setup = with("files", json!([{"path": "relative", "data": "s3cret"}]));
    let answer = agent.caller().post("/setup", &setup).await;
    assert_eq!(answer.status, 500);
    let error = answer.json()["error_msg"]
        .as_str()
        .expect("an error")
        .to_owned();
    assert!(
        error.contains("files[0].path") && error.contains("relative"),
        "{error}"
    );
    assert!(!error.contains("s3cret"));
}
