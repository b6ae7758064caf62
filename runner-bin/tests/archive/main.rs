//! What users are given: an archive is installed into a folder of its own, and
//! the next one over it while a build runs. `cargo xtask dist` makes the
//! archives, and names one in `VMPOOL_TEST_DIST`.

#[expect(dead_code, reason = "of it this test needs one runner and its site")]
#[path = "../site/support.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use support::{Site, ask, step, wait_for};

/// The archive.
fn archive() -> PathBuf {
    let named = std::env::var_os("VMPOOL_TEST_DIST").map(PathBuf::from);
    named.expect("VMPOOL_TEST_DIST is not set: run `cargo xtask dist`")
}

/// Unpacks the archive over whatever is in `prefix`, as the guide has it.
fn install(prefix: &Path) {
    fs::create_dir_all(prefix).expect("a folder");
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(archive());
    tar.arg("--strip-components=1");
    said(tar.arg("--directory").arg(prefix));
}

/// What a command says that must succeed.
fn said(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The file that a process runs; one that was replaced is told as deleted.
fn program(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default()
}

#[test]
fn what_is_installed_is_whole_and_what_it_is_made_of_is_told() {
    let prefix = TempDir::with_prefix("vmpool-archive-").expect("a temporary directory");
    install(prefix.path());
    let at = |file: &str| prefix.path().join(file);

    let version = concat!("vmpool ", env!("CARGO_PKG_VERSION"));
    let told = said(Command::new(at("bin/vmpool")).arg("--version"));
    assert!(told.starts_with(version), "{told}");
    let agent = at("lib/vmpool/agents/lite-engine-linux-amd64");
    said(Command::new(agent).arg("--version"));
    for file in [
        "lib/systemd/system/vmpool.service",
        "share/man/man1/vmpool.1",
        "share/man/man1/vmpool-serve.1",
        "share/bash-completion/completions/vmpool",
        "share/fish/vendor_completions.d/vmpool.fish",
        "share/zsh/site-functions/_vmpool",
        "share/doc/vmpool/LICENSE-MIT",
        "share/doc/vmpool/docs/operate.md",
        "share/vmpool/deploy/compose/compose.yml",
        "share/vmpool/pool-file.schema.json",
    ] {
        let bytes = fs::read(at(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!bytes.is_empty(), "{file}");
    }

    let archive = archive();
    let folder = archive.parent().expect("it is in a folder");
    for folder in [folder, &at("lib/vmpool/agents")] {
        let mut sums = Command::new("sha256sum");
        sums.args(["--check", "--strict", "SHA256SUMS"]);
        said(sums.current_dir(folder));
    }
    for (bill, needs) in [
        ("vmpool.cdx.json", "aws-sdk-ec2"),
        ("lite-engine.cdx.json", "rustls"),
    ] {
        let bill = fs::read(folder.join(bill)).expect("a bill of materials");
        let bill: Value = serde_json::from_slice(&bill).expect("JSON");
        assert_eq!(bill["bomFormat"], "CycloneDX");
        let components = bill["components"].as_array().expect("what it is made of");
        let component = components.iter().find(|each| each["name"] == needs);
        let component = component.unwrap_or_else(|| panic!("{needs} is not told"));
        assert!(component["version"].is_string() && component["licenses"].is_array());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_p9_a_build_notices_nothing_of_the_next_archive() {
    let site = Site::new(2, 4);
    let prefix = site.path().join("prefix");
    install(&prefix);
    let installed = prefix.join("bin/vmpool");
    let mut old = site.serve_with(&installed).await;
    let before = site.holder();
    assert_eq!(program(before), installed);
    let machine = site.setup("build").await;

    let script = "for i in 1 2 3; do echo $i; while [ ! -e go-$i ]; do sleep 0.05; done; done; pwd";
    let slow = step("build", "slow", script);
    let (answered, ()) = tokio::join!(site.post("/step", &slow), async {
        wait_for("the step's first line", async || {
            site.log("build", "slow").starts_with("1\n").then_some(())
        })
        .await;
        install(&prefix);
        assert_ne!(
            program(before),
            installed,
            "the old one is not the file there"
        );
        old.signal(Signal::SIGUSR2);
        // Whoever answers, answers well.
        wait_for("the runner of the next archive", async || {
            let ready = ask(site.port(), "GET", "/readyz", Bytes::new()).await;
            assert_eq!(
                ready.map(|ready| ready.status),
                Some(200),
                "{}",
                site.said()
            );
            (site.holder() != before && program(site.holder()) == installed).then_some(())
        })
        .await;
        // Asked again, as callers do, it is the same machine and the same step.
        assert_eq!(site.setup("build").await, machine);
        let go = "touch go-1 go-2 go-3";
        let go = site.insist("/step", &step("build", "go", go)).await;
        assert_eq!(go.json(), json!({"exited": true}), "{go:?}");
    });
    let answered = answered.unwrap_or_else(|| panic!("refused: {}", site.said()));
    assert_eq!(answered.json(), json!({"exited": true}), "{answered:?}");
    let log = site.log("build", "slow");
    assert!(log.starts_with("1\n2\n3\n/"), "{log}");
    assert!(old.end().await.success());

    site.destroy("build").await;
    let runner = site.holder();
    kill(Pid::from_raw(runner), Signal::SIGTERM).expect("stop the runner");
    wait_for("its end", async || {
        let mut processes = site.processes().into_iter();
        processes.all(|(pid, _)| pid != runner).then_some(())
    })
    .await;
}
