//! Thousands of connections that ask nothing, or ask slowly, while builds go on.

use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Site, setup, step};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");

/// More than the runner has places for.
const PLACES: usize = 1_500;
const IDLE: usize = 9_000;
const SLOW: usize = 1_000;

/// Memory that the program needs anyway, and what each place may cost.
const MOST_BYTES: usize = (192 << 20) + PLACES * (64 << 10);

async fn connect(port: u16) -> TcpStream {
    loop {
        // The kernel's queue is full for a moment.
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn ten_thousand_idle_connections_and_slow_senders_do_builds_no_harm() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    let needed = (IDLE + SLOW + 1_000) as u64;
    assert!(
        hard >= needed,
        "this host allows {hard} open files, and the test needs {needed}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, needed.max(hard.min(20_000)), hard).expect("more files");
    let site = Site::new(2, 3);
    let mut command = site.command(Path::new(PROGRAM));
    command.args(["--max-connections", &PLACES.to_string()]);
    let runner = site.ready(&mut command).await;

    let mut crowd = Vec::with_capacity(IDLE + SLOW);
    for sent in 0..IDLE + SLOW {
        let mut stream = connect(site.port()).await;
        if sent % 10 == 9 {
            // Who sends a body that never ends holds no place either.
            let head = "POST /setup HTTP/1.1\r\nhost: v\r\ncontent-length: 1000\r\n\r\n{";
            let _ = stream.write_all(head.as_bytes()).await;
        } else if sent % 10 < 4 {
            let _ = stream.write_all(b"GET /heal").await;
        }
        crowd.push(stream);
        if sent % 1_000 == 500 {
            let stage = format!("s{sent}");
            site.setup(&stage).await;
            let asked = site.insist("/step", &step(&stage, "a", "echo built")).await;
            assert_eq!(asked.status, 200, "{asked:?}");
            site.destroy(&stage).await;
        }
    }
    let asked = site
        .post("/setup", &setup("last"))
        .await
        .expect("an answer");
    assert_eq!(asked.status, 200, "{asked:?}");
    let asked = site.post("/destroy", &json!({"id": "last"})).await;
    assert_eq!(asked.expect("an answer").status, 200);
    let peak = site.peak_memory();
    assert!(peak < MOST_BYTES, "{peak} bytes");
    drop(crowd);
    assert!(runner.stop().await.success());
}
