//! `vmpool delegate`: the environment of the incumbent's.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Site, step};

fn delegate(site: &Site) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmpool"));
    let said = std::fs::File::options()
        .append(true)
        .create(true)
        .open(site.path().join("said"))
        .expect("a file for what is said");
    command
        .arg("delegate")
        .current_dir(site.path())
        .env("VMPOOL_TEST_SITE", site.path())
        .env_remove("VMPOOL_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    command
}

#[tokio::test]
async fn a_delegate_serves_with_the_incumbents_environment_and_says_what_it_does_not_do() {
    let site = Site::new(1, 2);
    std::fs::write(site.path().join(".env"), "DRONE_RUNNER_NAME=silent\n").expect("written");
    let envfile = format!(
        "DRONE_HTTP_BIND=127.0.0.1:{}\nDRONE_RUNNER_NAME={}\nDRONE_FALLBACK_POOL_IDS=linux\n\
         SETUP_TIMEOUT=40s\nDRONE_DATABASE_DATASOURCE={}\n",
        site.port(),
        site.deployment(),
        site.path().join("database.sqlite3").display(),
    );
    std::fs::write(site.path().join("runner.env"), envfile).expect("written");
    let mut command = delegate(&site);
    command
        .args(["--pool", "pool.yml", "--envfile", "runner.env"])
        .args(["--", "--grpc-listen", "127.0.0.1:0"]);
    let runner = site.ready(&mut command).await;
    let body = json!({"id": "s", "pool_id": "nope"});
    let answered = site.insist("/setup", &body).await;
    assert_eq!(answered.json()["instance_info"]["pool_name"], "linux");
    let ended = site.insist("/step", &step("s", "hi", "echo hi")).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    site.destroy("s").await;
    let said = site.said();
    for sentence in [
        ".env in the working directory is not read",
        "SETUP_TIMEOUT has no effect",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    assert!(
        site.path()
            .join("database.sqlite3.vmpool/vmpool.db")
            .exists(),
        "its state"
    );
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p13_a_delegate_that_can_not_do_what_is_asked_does_not_start() {
    let site = Site::new(0, 1);
    for (name, value, said) in [
        (
            "DRONE_DATABASE_DRIVER",
            "leveldb",
            "DRONE_DATABASE_DRIVER: \"leveldb\" is not supported",
        ),
        (
            "DRONE_HTTP_BIND",
            "nowhere",
            "DRONE_HTTP_BIND: \"nowhere\" is no address",
        ),
        (
            "DRONE_SETTINGS_BUSY_MAX_AGE",
            "0",
            "minimum value of max age is 5.00 minutes",
        ),
        (
            "DRONE_RUNNER_VOLUMES",
            "/a",
            "DRONE_RUNNER_VOLUMES: \"/a\" is not",
        ),
        (
            "DRONE_LITE_ENGINE_ENABLE_MOCK",
            "true",
            "DRONE_LITE_ENGINE_ENABLE_MOCK asks for",
        ),
    ] {
        let output = delegate(&site)
            .args(["--pool", "pool.yml"])
            .env(name, value)
            .stderr(Stdio::piped())
            .output()
            .expect("vmpool runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(said), "{said}: {told}");
    }
    let none = delegate(&site)
        .env_remove("AWS_ACCESS_KEY_ID")
        .stderr(Stdio::piped())
        .output()
        .expect("vmpool runs");
    let told = String::from_utf8_lossy(&none.stderr);
    assert!(told.contains("there is no --pool"), "{told}");
    assert!(
        !Path::new(&site.path().join("database.sqlite3.vmpool")).exists(),
        "nothing is begun"
    );
}
