//! The clients that are shown as examples, against the real runner.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};
use vmpool_proto::v1::{GetStageRequest, StageState};

use crate::client::{builds, serve};
use crate::support::{Site, free_port, wait_for};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");

/// `target`, beside whose profiles its tools are.
fn target() -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its own file");
    let target = here.ancestors().nth(3).expect("target/PROFILE/deps/FILE");
    target.to_owned()
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("it is in a workspace")
}

/// Runs `step`: prints a line, waits for a file, prints another, and fails.
fn script(site: &Site) -> String {
    let (go, ran) = (site.path().join("go"), site.path().join("ran"));
    format!(
        "echo ran >> {}; echo one; until test -e {}; do sleep 0.05; done; echo two; exit 3",
        ran.display(),
        go.display()
    )
}

/// Lets the step go on.
fn go(site: &Site) {
    std::fs::write(site.path().join("go"), "").expect("written");
}

fn python(site: &Site, runner: u16) -> Child {
    let python = target().join("tools/grpc/bin/python");
    assert!(
        python.exists(),
        "{} is not there: `cargo xtask setup` makes it",
        python.display()
    );
    Command::new(python)
        .arg(workspace().join("examples/python/build.py"))
        .args(["--runner", &format!("127.0.0.1:{runner}")])
        .args(["--pool", "linux", "--stage", "s", "--output"])
        .arg(site.path().join("out.log"))
        .args(["--", "sh", "-c", &script(site)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("start python")
}

async fn stage_is_released(site: &Site) {
    let stage = GetStageRequest {
        stage_id: "s".to_owned(),
    };
    let stage = builds(site).get_stage(stage).await.expect("it is known");
    assert_eq!(stage.into_inner().state(), StageState::Ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_the_python_client_is_killed_resumes_by_offset_and_releases() {
    let site = Site::new(0, 1);
    let port = free_port();
    let runner = serve(&site, Path::new(PROGRAM), port).await;
    let output = || std::fs::read_to_string(site.path().join("out.log")).unwrap_or_default();
    let mut first = python(&site, port);
    wait_for("its output", async || (output() == "one\n").then_some(())).await;
    first.kill().await.expect("killed");
    assert_eq!(output(), "one\n");

    // The next one also sees the runner killed and replaced.
    let second = python(&site, port);
    runner.kill().await;
    let runner = serve(&site, Path::new(PROGRAM), port).await;
    go(&site);
    let ended = second.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "two\n", "{said}");
    assert_eq!(output(), "one\ntwo\n");
    let ran = std::fs::read_to_string(site.path().join("ran")).expect("it ran");
    assert_eq!(ran, "ran\n", "it ran once");
    stage_is_released(&site).await;
    // Once more, after all is over: the same answer.
    let third = python(&site, port)
        .wait_with_output()
        .await
        .expect("it ends");
    assert_eq!(third.status.code(), Some(3), "{third:?}");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_the_rust_client_goes_on_with_the_next_runner() {
    let site = Site::new(0, 1);
    let port = free_port();
    let runner = serve(&site, Path::new(PROGRAM), port).await;
    let here = std::env::current_exe().expect("a test knows its own file");
    let profile = here.ancestors().nth(2).expect("PROFILE/deps/FILE");
    let client = profile.join("examples/grpc_client");
    assert!(
        client.exists(),
        "{} is not there: `cargo test --workspace` builds it",
        client.display()
    );
    let client = Command::new(client)
        .args([&format!("http://127.0.0.1:{port}"), "linux", "s"])
        .args(["sh", "-c", &script(&site)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("start the client");
    wait_for("the step", async || {
        (site.log("s", "build") == "one\n").then_some(())
    })
    .await;
    runner.kill().await;
    let runner = serve(&site, Path::new(PROGRAM), port).await;
    go(&site);
    let ended = client.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "one\ntwo\n",
        "{said}"
    );
    stage_is_released(&site).await;
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}
