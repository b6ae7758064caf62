//! `vmpool pool top` on a terminal, by `script(1)`.

use std::num::NonZeroU16;
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::{Site, wait_for};
use crate::tools::state;

const ROWS: NonZeroU16 = NonZeroU16::new(30).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(120).unwrap();

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_what_changes_finds_a_runner_again_and_ends_on_q() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let line = format!(
        "stty rows {ROWS} cols {COLUMNS}; exec {} pool top --state {}",
        env!("CARGO_BIN_EXE_vmpool"),
        state(&site)
    );
    let mut terminal = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--flush",
            "--command",
            &line,
            "/dev/null",
        ])
        .env("TERM", "xterm-256color")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script(1) runs");
    let (mut keys, mut out) = (
        terminal.stdin.take().expect("a pipe"),
        terminal.stdout.take().expect("a pipe"),
    );
    // What is drawn is only what has changed: a terminal knows the rest.
    let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
    let mut reading = JoinSet::new();
    reading.spawn({
        let screen = Arc::clone(&screen);
        async move {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes).await {
                screen.lock().process(&bytes[..read]);
            }
        }
    });
    let shows = async |text: &str| {
        wait_for(&format!("{text:?} on the screen"), async || {
            let contents = screen.lock().screen().contents();
            contents.contains(text).then_some(())
        })
        .await;
    };
    shows("no machines").await;
    let machine = site.setup("S1").await;
    shows(&machine).await;
    runner.kill().await;
    shows("no runner: journal").await;
    let _runner = site.serve().await;
    shows(&format!("of deployment {}", site.deployment())).await;
    keys.write_all(b"q").await.expect("a key");
    let ended = terminal.wait().await.expect("its end");
    assert_eq!(ended.code(), Some(0));
}
