//! A runner that never comes back, with its state or without: what it leaves
//! can be named and ended, and ends by itself (P1).

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Site, step, wait_for};

/// Far longer than the test.
const ENDLESS: &str = "echo begun; sleep 1000";

#[tokio::test]
async fn p1_machines_of_a_lost_state_directory_are_named_and_end_when_a_person_says_so() {
    let site = Site::new(2, 4);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    let endless = step("s", "b", ENDLESS);
    let (_, ()) = tokio::join!(site.post("/step", &endless), async {
        until_it_runs(&site).await;
        // A machine for the stage, and two that are warm.
        wait_for("the pool to be full again", async || {
            (machines(&site) == 3).then_some(())
        })
        .await;
        runner.kill().await;
    });
    fs::remove_dir_all(site.path().join("state")).expect("the state is there");

    let said = sweep(&site, &[]);
    assert!(said.contains("3 machines"), "{said}");
    let command = said.lines().find(|line| line.contains("--deployment-id "));
    let command = command.unwrap_or_else(|| panic!("no deployment is named: {said}"));
    let mut words = command.split_whitespace();
    let id = words.find(|word| *word == "--deployment-id");
    let id = id.and_then(|_| words.next()).expect("its id");
    let said = sweep(&site, &["--deployment-id", id]);
    assert!(said.contains(&machine), "{said}");
    assert_eq!(machines(&site), 3, "looking ends nothing");

    let _ = sweep(&site, &["--deployment-id", id, "--yes"]);
    until_no_process_is_left(&site).await;
    assert!(!site.path().join("state").exists());
}

#[tokio::test]
async fn p2_p4_a_build_whose_journal_was_lost_goes_on_where_it_is() {
    let site = Site::new(1, 4);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    let slow = step("s", "b", "echo begun; sleep 3; echo done");
    let (_, ()) = tokio::join!(site.post("/step", &slow), async {
        until_it_runs(&site).await;
        wait_for("a warm machine", async || {
            (machines(&site) == 2).then_some(())
        })
        .await;
        runner.kill().await;
    });
    for file in ["vmpool.db", "vmpool.db-wal", "vmpool.db-shm"] {
        let _ = fs::remove_file(site.path().join("state").join(file));
    }
    // Its callers come again before the machines were found and asked whose they are.
    let next = site.begin();
    let (again, ended) = tokio::join!(site.setup("s"), site.insist("/step", &slow));
    assert_eq!(again, machine);
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(site.log("s", "b"), "begun\ndone\n");
    site.destroy("s").await;
    assert!(next.stop().await.success());
}

#[tokio::test]
async fn p1_no_machine_outlives_its_clock_though_nobody_sweeps() {
    let site = Site::new(1, 4);
    site.pool(1, 4, "{boot: 10s, idle: 3s, stage_grace: 1s}");
    let runner = site.serve().await;
    let setup = json!({"id": "s", "pool_id": "linux", "setup_request": {"timeout": 2}});
    site.insist("/setup", &setup).await.machine();
    let endless = step("s", "b", ENDLESS);
    let (_, ()) = tokio::join!(site.post("/step", &endless), async {
        until_it_runs(&site).await;
        runner.kill().await;
    });
    // One that is set up, one that is warm, and perhaps one that boots.
    assert!(machines(&site) > 0, "{:?}", site.processes());
    until_no_process_is_left(&site).await;
}

async fn until_it_runs(site: &Site) {
    wait_for("the first line", async || {
        site.log("s", "b").contains("begun").then_some(())
    })
    .await;
}

async fn until_no_process_is_left(site: &Site) {
    wait_for("the end of all machines", async || {
        site.processes().is_empty().then_some(())
    })
    .await;
}

/// Machines that there are, by their folders: none has ended yet.
fn machines(site: &Site) -> usize {
    let folders = fs::read_dir(site.path().join("machines"));
    let folders = folders.expect("a root of machines").flatten();
    folders
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("local-"))
        .count()
}

fn sweep(site: &Site, arguments: &[&str]) -> String {
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_vmpool")))
        .args(["sweep", "--pool"])
        .arg(site.path().join("pool.yml"))
        .arg("--state")
        .arg(site.path().join("state"))
        .args(["--deployment", &site.deployment()])
        .args(arguments)
        .output()
        .expect("vmpool runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
