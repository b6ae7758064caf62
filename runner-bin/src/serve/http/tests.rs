//! Bodies that are too large, and connections that are too slow, on paused time.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;
use vmpool_agent::Authority;
use vmpool_pipeline::PoolFile;

use super::*;
use crate::serve::access::{Access, AccessArgs};
use crate::serve::desk::Ways;
use crate::serve::doors::Connections;
use crate::serve::log_service::LogService;
use crate::serve::logs::FileLogs;
use crate::serve::peer::Peers;

/// Far longer than anything may take.
const DAY: Duration = Duration::from_hours(24);

/// A caller, connected to a runner's routes.
struct Caller {
    stream: DuplexStream,
    // Dropped, it lets go of its connections.
    _connections: Connections,
    _trust: TempDir,
}

impl Caller {
    fn new() -> Self {
        let trust = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open_or_create(trust.path()).unwrap());
        let pools = PoolFile {
            pools: Vec::new(),
            warnings: Vec::new(),
        };
        let access = Access::load(&AccessArgs::default()).unwrap();
        let peers = Peers::new(&authority).unwrap();
        let ways = Ways {
            fallbacks: Vec::new(),
            compat_keys: None,
            log_service: LogService::new(FileLogs::new("logs".into())),
        };
        let desk = Desk::new(peers, Arc::new(pools), access.clone(), ways);
        let (stream, theirs) = duplex(1 << 20);
        let connections = Connections::new();
        connections.keep_caller(theirs, routes(desk, None), access);
        Self {
            stream,
            _connections: connections,
            _trust: trust,
        }
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes until it ends with `end`, or the connection is closed.
    async fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        let all = async {
            while !heard.ends_with(end.as_bytes()) || end.is_empty() {
                match self.stream.read_u8().await {
                    Ok(byte) => heard.push(byte),
                    Err(_) => break,
                }
            }
        };
        timeout(DAY, all).await.expect("it ends some time");
        String::from_utf8(heard).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn p13_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent() {
    let mut caller = Caller::new();
    let size = MOST_BYTES + 1;
    let head = format!(
        "POST /setup HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {size}\r\n\r\n"
    );
    caller.say(&head).await;
    let heard = caller.hear("\n").await;
    assert!(heard.starts_with("HTTP/1.1 413 "), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn p13_a_body_of_unknown_length_is_read_up_to_the_limit() {
    let mut caller = Caller::new();
    caller
        .say("POST /setup HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    for _ in 0..(MOST_BYTES >> 20) {
        caller.say(&chunk).await;
    }
    // Perhaps not all of it is read.
    let _ = caller.stream.write_all(chunk.as_bytes()).await;
    let heard = caller.hear("}\n").await;
    assert!(heard.starts_with("HTTP/1.1 413 "), "{heard}");
    assert!(heard.contains("larger than 64 MiB"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_leave_to_send_a_body_gets_it() {
    let mut caller = Caller::new();
    caller
        .say("POST /setup HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert_eq!(
        caller.hear("\r\n\r\n").await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    caller.say("{}").await;
    let heard = caller.hear("}").await;
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    assert!(heard.contains("mandatory field 'id'"), "{heard}");
}

#[tokio::test(start_paused = true)]
async fn p3_a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let mut caller = Caller::new();
    let begun = Instant::now();
    caller
        .say("POST /setup HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        .await;
    let heard = caller.hear("}\n").await;
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
    assert_eq!(begun.elapsed().as_secs(), BODY_PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn p3_a_connection_whose_headers_do_not_come_is_closed() {
    for begin in ["", "POST /setup HTTP/1.1\r\nhos"] {
        let mut caller = Caller::new();
        caller.say(begin).await;
        let heard = caller.hear("").await;
        assert!(!heard.contains(" 200 "), "{heard}");
    }
}
