//! Requests that would do harm: too large, too deep, too slow.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Agent, LONG, setup0, step};

/// Sends a head and then pieces of a body until the agent has had enough; what
/// it answered, if that was heard.
async fn pour(agent: &Agent, path: &str, head: &str, piece: &[u8], times: usize) -> String {
    let mut stream = agent
        .caller()
        .connect(&["http/1.1"])
        .await
        .expect("a connection");
    let head = format!("POST {path} HTTP/1.1\r\nHost: drone\r\n{head}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    for _ in 0..times {
        if stream.write_all(piece).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn p13_bodies_of_200_mb_are_refused_and_take_no_memory() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    for path in ["/setup", "/start_step", "/poll_step", "/destroy"] {
        let answer = pour(&agent, path, "Content-Length: 209715200", b"", 0).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
    let piece = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    for path in ["/start_step", "/poll_step"] {
        let chunked = "Transfer-Encoding: chunked";
        let answer = pour(&agent, path, chunked, &piece, 3200).await;
        // Who goes on sending may not hear the answer.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
            "{path}: {answer}"
        );
    }
    assert!(
        agent.peak_memory() < 120 * 1024,
        "{} KiB",
        agent.peak_memory()
    );
    assert_eq!(
        caller.run_next(&step("a", "true")).await,
        json!({"exited": true})
    );
}

#[tokio::test]
async fn p13_what_is_nested_deep_is_refused_or_passed_over() {
    let agent = Agent::start();
    let caller = agent.caller();
    let nested = "[".repeat(1_000_000);
    let answer = caller.ask("POST", "/setup", &nested).await;
    assert_eq!(answer.status, 400);
    let known = format!(r#"{{"vm_image_config":{nested}"#);
    assert_eq!(caller.ask("POST", "/setup", &known).await.status, 400);
    let unknown = format!(r#"{{"unknown":{nested}"#);
    assert_eq!(caller.ask("POST", "/setup", &unknown).await.status, 400);
    let closed = format!(
        r#"{{"mount_docker_socket":false,"unknown":{nested}{}}}"#,
        "]".repeat(1_000_000)
    );
    assert_eq!(caller.ask("POST", "/setup", &closed).await.status, 200);
    assert_eq!(
        caller.run_next(&step("a", "true")).await,
        json!({"exited": true})
    );
}

#[tokio::test]
async fn p13_slow_bodies_hold_nobody_up_and_are_given_up() {
    let agent = Agent::start();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = agent
            .caller()
            .connect(&["http/1.1"])
            .await
            .expect("a connection");
        let head = "POST /start_step HTTP/1.1\r\nHost: drone\r\nContent-Length: 100\r\n\r\n{";
        stream.write_all(head.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    // Others are answered meanwhile, those that wait for a turn a little later.
    assert_eq!(agent.caller().get("/healthz").await.status, 200);
    let poll = json!({"id": "never"});
    agent
        .caller()
        .post("/poll_step", &poll)
        .await
        .is_refusal(400, "Step has not started");
    for mut stream in slow {
        let mut answer = [0; 256];
        let read = tokio::time::timeout(LONG, stream.read(&mut answer)).await;
        let count = read.expect("given up").unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{answer}"
        );
    }
    assert_eq!(
        agent.caller().run(&step("a", "true")).await,
        json!({"exited": true})
    );
}

#[tokio::test]
async fn connections_that_say_nothing_are_dropped() {
    let agent = Agent::start();
    let mut silent = tokio::net::TcpStream::connect(agent.address())
        .await
        .expect("connected");
    let read = tokio::time::timeout(Duration::from_secs(30), silent.read_u8()).await;
    assert!(read.expect("dropped").is_err());
    assert_eq!(agent.caller().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn p13_bodies_that_come_a_byte_at_a_time_take_no_memory_and_hold_nobody_up() {
    let agent = Agent::start();
    let caller = agent.caller();
    caller.done("/setup", &setup0()).await;
    let before = agent.peak_memory();
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = caller.connect(&["http/1.1"]).await.expect("a connection");
        let head = "POST /start_step HTTP/1.1\r\nHost: drone\r\nContent-Length: 8000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        slow.push(stream);
    }
    for _ in 0..10 {
        for stream in &mut slow {
            // One that was given up does not take it.
            let _ = stream.write_all(b" ").await;
        }
        assert_eq!(caller.get("/healthz").await.status, 200);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = agent.peak_memory();
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    drop(slow);
    assert_eq!(
        caller.run_next(&step("a", "true")).await,
        json!({"exited": true})
    );
}
