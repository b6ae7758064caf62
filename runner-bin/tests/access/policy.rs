//! Where a runner listens, and what it must be given for that.

use std::process::{Command, Stdio};

use crate::authority::write_secret;
use crate::support::Site;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmpool");

/// `vmpool serve`, with the address of --listen in place of this host's own.
fn listening(site: &Site, address: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("serve")
        .arg("--pool")
        .arg(site.path().join("pool.yml"))
        .arg("--state")
        .arg(site.path().join("state"))
        .args(["--listen", address, "--grpc-listen", "127.0.0.1:0"])
        .args(["--deployment", &site.deployment()])
        .env("VMPOOL_TEST_SITE", site.path())
        .env_remove("VMPOOL_LOG")
        .stdin(Stdio::null());
    command
}

#[test]
fn p13_an_address_that_others_reach_is_refused_with_the_options_that_there_are() {
    let site = Site::new(0, 1);
    let output = listening(&site, "0.0.0.0:0").output().expect("vmpool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in [
        "--listen 0.0.0.0:0:",
        "--tls-cert",
        "--tokens",
        "127.0.0.1",
        "--open",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!site.path().join("state").exists(), "nothing was changed");
}

#[tokio::test]
async fn it_is_open_where_that_is_wanted_and_says_once_what_that_means() {
    let site = Site::new(0, 1);
    let at = format!("0.0.0.0:{}", site.port());
    let runner = site.ready(&mut relisten(&site, &at, &["--open"])).await;
    assert!(runner.stop().await.success());
    let said = site.said();
    assert_eq!(
        said.matches("may run anything on the machines").count(),
        1,
        "{said}"
    );
}

/// The site's own command, on another address.
fn relisten(site: &Site, address: &str, more: &[&str]) -> Command {
    let mut command = listening(site, address);
    let said = std::fs::File::options()
        .append(true)
        .create(true)
        .open(site.path().join("said"))
        .expect("a file for what is said");
    command.args(more).stdout(Stdio::null()).stderr(said);
    command
}

#[test]
fn p13_a_file_of_callers_that_can_not_be_used_is_told_with_its_place() {
    let site = Site::new(0, 1);
    let callers = site.path().join("callers.yml");
    let secret = "a-token-that-nobody-sees";
    write_secret(
        &callers,
        &format!("callers:\n- name: ci\n  token: {secret}\n"),
    );
    let mut command = listening(&site, "127.0.0.1:0");
    let output = command.arg("--tokens").arg(&callers).output();
    let output = output.expect("vmpool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("callers.yml: 3:3: there is no such field"),
        "{said}"
    );
    assert!(!said.contains(secret), "P11: {said}");
}
