//! The Compose file as an operator runs it: a PostgreSQL and two runners in
//! containers, of images that are made from an archive as it is given to users.
//! `cargo xtask compose` makes what it needs, and the network namespace in
//! which the fake EC2's machines have addresses that containers reach.

mod engine;
#[expect(dead_code, reason = "of it this test needs the asking and the waiting")]
#[path = "../site/support.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use fake_ec2::{AgentGuest, Catalog, Clock, Config, FakeEc2, Processes, Timing};
use serde_json::{Value, json};
use tempfile::TempDir;

use engine::{Engine, named, said};
use support::{Answered, ask, lite_engine, setup, step, wait_for};

/// Where the fake EC2 is, and its machines are beside it.
const CLOUD: &str = "10.1.0.2";

/// The runners' ports on this host.
const RUNNERS: [u16; 2] = [3000, 3010];

/// What `docker-compose` is started with.
struct Stack<'a> {
    engine: &'a Engine,
    folder: &'a Path,
}

impl Stack<'_> {
    fn compose(&self, args: &[&str]) -> Command {
        let mut compose = self.engine.command("docker-compose");
        compose
            .arg("--project-directory")
            .arg(self.folder)
            .args(["--file", "compose.yml", "--project-name", "vmpool"])
            .args(args)
            .current_dir(self.folder)
            .env("POSTGRES_PASSWORD", "of-this-test")
            .env("HOST_ADDRESS", CLOUD)
            .env("VMPOOL_IMAGE", "vmpool:test")
            .env("POSTGRES_IMAGE", "postgres:test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "111122223333")
            .env("AWS_SECRET_ACCESS_KEY", "any")
            .env("AWS_ENDPOINT_URL", format!("http://{CLOUD}:4566"));
        compose
    }

    /// Asks a runner until it answers with success.
    async fn insist(&self, port: u16, path: &str, body: &Value) -> Answered {
        let body = Bytes::from(body.to_string());
        wait_for(path, async || {
            let answered = ask(port, "POST", path, body.clone()).await?;
            if answered.status != 200 {
                println!("{path}: {} {}", answered.status, answered.body);
            }
            (answered.status == 200).then_some(answered)
        })
        .await
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--no-color", "--tail=100"]).output();
            if let Ok(logs) = logs {
                println!("{}", String::from_utf8_lossy(&logs.stdout));
            }
        }
        let _ = self.compose(&["down", "--volumes", "--timeout=5"]).status();
    }
}

/// An EC2 whose machines are processes of this host, which containers reach.
async fn cloud(disks: &Path) -> FakeEc2 {
    std::fs::create_dir(disks).expect("a folder for disks");
    let guest = AgentGuest {
        agent: lite_engine().to_owned(),
        port: 9079,
    };
    let machines = Arc::new(Processes::new(disks.to_owned(), Arc::new(guest)));
    let mut catalog = Catalog::default();
    for place in &mut catalog.regions {
        place.host = 10;
    }
    let config = Config {
        catalog,
        // Ids of machines come from it, and processes are found by these.
        seed: fastrand::u64(..),
        timing: Timing::instant(),
        ..Config::default()
    };
    let listen = format!("{CLOUD}:4566").parse().expect("an address");
    let fake = FakeEc2::start(config, Clock::host(), machines, listen).await;
    fake.expect("its address is free")
}

/// The unpacked archive.
fn unpacked(folder: &Path) -> PathBuf {
    let archive = named("VMPOOL_TEST_DIST");
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(&archive);
    said(tar.arg("--directory").arg(folder));
    let name = archive.file_name().expect("a file").to_string_lossy();
    folder.join(name.trim_end_matches(".tar.gz"))
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_two_runners_of_the_compose_file_run_builds_and_one_goes_on_for_the_other() {
    let folder = TempDir::with_prefix("vmpool-compose-").expect("a temporary directory");
    let release = unpacked(folder.path());
    let engine = Engine::start().await;

    // As the Dockerfile's first lines say.
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    std::fs::copy(authorities, release.join("ca-certificates.crt")).expect("the authorities");
    let deploy = release.join("share/vmpool/deploy");
    engine.build(
        "vmpool:test",
        &deploy.join("container/Dockerfile"),
        &release,
    );
    assert!(
        engine
            .docker(&["run", "--rm", "vmpool:test", "--version"])
            .starts_with("vmpool ")
    );

    let tar = named("VMPOOL_TEST_POSTGRES");
    let path = std::fs::read_to_string(tar.with_file_name("path")).expect("the server's path");
    let changes = [
        r#"ENTRYPOINT ["/bin/entrypoint"]"#.to_owned(),
        format!("ENV {}", path.trim()),
    ];
    engine.import("postgres:test", &tar, &changes);

    let compose = deploy.join("compose");
    let example = std::fs::read_to_string(compose.join("pool.example.yml")).expect("the example");
    let pool = example.replace("10.0.0.0/16", "172.16.0.0/12");
    std::fs::write(compose.join("pool.yml"), pool).expect("the pool file");
    let fake = cloud(&folder.path().join("disks")).await;

    let stack = Stack {
        engine: &engine,
        folder: &compose,
    };
    said(&mut stack.compose(&["up", "--detach"]));
    for port in RUNNERS {
        wait_for("a runner", async || {
            let ready = ask(port, "GET", "/readyz", Bytes::new()).await?;
            (ready.status == 200).then_some(())
        })
        .await;
    }

    // Either answers, whoever owns the pool.
    for (port, stage) in RUNNERS.into_iter().zip(["one", "two"]) {
        stack.insist(port, "/setup", &setup(stage)).await;
        let ran = stack
            .insist(port, "/step", &step(stage, "hi", "echo hello; exit 3"))
            .await;
        assert_eq!(ran.json()["exit_code"], json!(3), "{ran:?}");
        stack.insist(port, "/destroy", &json!({"id": stage})).await;
    }

    // One is killed, whoever owns the pool; the other has the build.
    stack.insist(RUNNERS[0], "/setup", &setup("three")).await;
    stack
        .insist(
            RUNNERS[0],
            "/step",
            &step("three", "first", "echo 1 >> once"),
        )
        .await;
    said(&mut stack.compose(&["kill", "--signal=SIGKILL", "runner-1"]));
    let again = stack
        .insist(
            RUNNERS[1],
            "/step",
            &step("three", "first", "echo 1 >> once"),
        )
        .await;
    assert_eq!(again.json(), json!({"exited": true}), "{again:?}");
    let count = step("three", "count", "exit $(wc -l < once)");
    let count = stack.insist(RUNNERS[1], "/step", &count).await;
    assert_eq!(
        count.json()["exit_code"],
        json!(1),
        "P4, it ran once: {count:?}"
    );
    stack
        .insist(RUNNERS[1], "/destroy", &json!({"id": "three"}))
        .await;
    drop(stack);
    fake.stop().await;
}
