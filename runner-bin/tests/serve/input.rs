//! What is wrong is told clearly, and changes nothing (P13).

use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::support::{Site, refused, step};

#[tokio::test]
async fn p13_a_bad_pool_file_is_refused_with_its_place() {
    let site = Site::new(1, 1);
    site.pool_file("instances:\n- name: linux\n  type: google\n");
    let (code, said) = refused(&site);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("pool.yml:3:9: instances[0].type: machines of type `google`"),
        "{said}"
    );
}

#[tokio::test]
async fn p13_a_runner_among_others_shares_its_journal_its_trust_and_its_logs() {
    let site = Site::new(1, 1);
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    command
        .args(["--peer-listen", "127.0.0.1:0"])
        .args(["--peer-url", "https://127.0.0.1:1"]);
    let output = command
        .stderr(Stdio::piped())
        .output()
        .expect("vmpool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for option in ["--journal <URL>", "--trust <DIR>", "--logs <DIR>"] {
        assert!(said.contains(option), "{option}: {said}");
    }
}

#[tokio::test]
async fn p13_a_second_runner_is_told_who_has_the_state() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    // Its sockets are taken, too: it must get to the lock.
    let other = Site::new(0, 1);
    let link = other.path().join("state");
    std::os::unix::fs::symlink(site.path().join("state"), link).expect("a link");
    let (code, said) = refused(&other);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains(&format!("in use by process {}", site.holder())),
        "{said}"
    );
    assert!(runner.stop().await.success());
}

#[test]
fn p13_an_address_that_is_taken_is_told_with_the_option_that_names_another() {
    let site = Site::new(0, 1);
    let taken = std::net::TcpListener::bind(("127.0.0.1", site.port));
    let taken = taken.expect("nobody else listens there");
    let (code, said) = refused(&site);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--listen names another address"), "{said}");
    drop(taken);
}

#[tokio::test]
async fn p13_requests_that_mean_nothing_are_told_why() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let ask = async |path: &str, body: serde_json::Value| {
        let answered = site.post(path, &body).await.expect("an answer");
        (answered.status, answered.body)
    };
    let (status, body) = ask("/setup", json!({"pool_id": "linux"})).await;
    assert_eq!(status, 400);
    assert!(
        body.contains("mandatory field 'id' in the request body is empty"),
        "{body}"
    );
    let (status, body) = ask("/setup", json!({"id": "s", "pool_id": "other"})).await;
    assert_eq!(status, 500);
    assert!(body.contains("could not find pool: other"), "{body}");
    let (status, body) = ask("/step", step("unknown", "b", "true")).await;
    assert_eq!(status, 500);
    assert!(
        body.contains("failed to find stage owner entity for stage: unknown"),
        "{body}"
    );
    let (status, body) = ask("/pool_owner", json!({})).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        "{\"error_msg\":\"mandatory URL parameter 'pool' is missing\"}\n"
    );
    assert_eq!(
        ask("/nowhere", json!({})).await,
        (404, "404 page not found\n".into())
    );
    assert_eq!(site.get("/healthz").await.expect("an answer").body, "OK");
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p13_a_body_without_an_end_is_refused_and_takes_no_memory() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    for head in [
        "content-length: 1099511627776",
        "transfer-encoding: chunked",
    ] {
        let heard = site.pour("/setup", head).await;
        assert!(heard.starts_with("HTTP/1.1 413 "), "{head}: {heard}");
        assert!(heard.contains("larger than 64 MiB"), "{head}: {heard}");
    }
    // The limit itself, and what the program needs anyway.
    let peak = site.peak_memory();
    assert!(peak < 256 << 20, "{peak} bytes");
    assert_eq!(site.get("/healthz").await.expect("an answer").body, "OK");
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn what_is_logged_to_a_file_has_no_colours() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    assert!(runner.stop().await.success());
    let said = site.said();
    assert!(said.contains("stopped"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
}
