//! However a runner ends, the builds go on (P4).

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Site, setup, step, wait_for};

/// Prints its lines slowly enough for a runner to end in between.
const SLOW: &str = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.3; done";

/// Waits until the step's log has this.
async fn printed(site: &Site, stage: &str, id: &str, text: &str) {
    wait_for(&format!("{text:?} in the log"), async || {
        site.log(stage, id).contains(text).then_some(())
    })
    .await;
}

/// The next runner has the end of the step [`SLOW`] and its whole log, and ends its stage.
async fn the_next_runner_has_it_all(site: &Site, request: &Value) {
    let next = site.serve().await;
    let ended = site.insist("/step", request).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    let lines = [1, 2, 3, 4, 5, 6, 7, 8].map(|n| format!("line {n}\n"));
    assert_eq!(site.log("s", "slow"), lines.concat());
    site.destroy("s").await;
    assert!(next.stop().await.success());
}

#[tokio::test]
async fn p4_a_runner_killed_in_the_middle_of_a_step_loses_nothing() {
    let site = Site::new(1, 3);
    let runner = site.serve().await;
    site.setup("s").await;
    let request = step("s", "slow", SLOW);
    let (asked, ()) = tokio::join!(site.post("/step", &request), async {
        printed(&site, "s", "slow", "line 2").await;
        runner.kill().await;
    });
    assert!(asked.is_none(), "{asked:?}");

    the_next_runner_has_it_all(&site, &request).await;
}

#[tokio::test]
async fn p4_a_runner_killed_after_a_setup_and_after_a_step_gives_the_same_again() {
    let site = Site::new(1, 3);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    runner.kill().await;

    let runner = site.serve().await;
    assert_eq!(site.setup("s").await, machine);
    let request = step("s", "one", "echo one; exit 7");
    let ended = site.insist("/step", &request).await;
    runner.kill().await;

    let runner = site.serve().await;
    assert_eq!(site.insist("/step", &request).await.body, ended.body);
    assert_eq!(site.log("s", "one"), "one\n");
    site.destroy("s").await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p4_sigterm_ends_the_runner_and_no_step() {
    let site = Site::new(1, 3);
    let mut runner = site.serve_for("200ms").await;
    site.setup("s").await;
    let request = step("s", "slow", SLOW);
    let (asked, status) = tokio::join!(site.post("/step", &request), async {
        printed(&site, "s", "slow", "line 1").await;
        runner.signal(Signal::SIGTERM);
        runner.end().await
    });
    assert!(status.success());
    let asked = asked.expect("an answer");
    assert_eq!(asked.status, 503, "{asked:?}");
    assert!(asked.retry_after.is_some());

    the_next_runner_has_it_all(&site, &request).await;
}

#[tokio::test]
async fn p4_a_second_sigterm_ends_the_runner_at_once_and_no_step() {
    let site = Site::new(1, 3);
    let mut runner = site.serve_for("10m").await;
    site.setup("s").await;
    let request = step("s", "slow", SLOW);
    let (asked, status) = tokio::join!(site.post("/step", &request), async {
        printed(&site, "s", "slow", "line 1").await;
        runner.signal(Signal::SIGTERM);
        wait_for("its word", async || {
            site.said().contains("stopping; builds go on").then_some(())
        })
        .await;
        runner.signal(Signal::SIGTERM);
        runner.end().await
    });
    assert_eq!(status.code(), Some(130));
    assert!(asked.is_none(), "{asked:?}");

    the_next_runner_has_it_all(&site, &request).await;
}

#[tokio::test]
async fn p1_p4_a_runner_killed_during_a_setup_leaves_no_machine_too_many() {
    let site = Site::new(0, 2);
    for (round, delay) in [0, 10, 30, 80, 150, 250, 400].into_iter().enumerate() {
        let runner = site.serve().await;
        let stage = format!("s{round}");
        let (request, delay) = (setup(&stage), Duration::from_millis(delay));
        let (_, ()) = tokio::join!(site.post("/setup", &request), async {
            // Where it is by then differs from run to run; all of it must hold.
            tokio::time::sleep(delay).await;
            runner.kill().await;
        });
        let next = site.serve().await;
        let machine = site.setup(&stage).await;
        assert_eq!(site.setup(&stage).await, machine);
        let ended = site.insist("/step", &step(&stage, "b", "echo once")).await;
        assert_eq!(ended.json(), json!({"exited": true}));
        assert_eq!(site.log(&stage, "b"), "once\n");
        site.destroy(&stage).await;
        site.wait_until_no_machine_is_left().await;
        next.kill().await;
    }
}

#[tokio::test]
async fn p4_p5_a_runner_killed_during_a_destroy_has_promised_what_the_next_one_does() {
    let site = Site::new(0, 2);
    for (round, delay) in [0, 20, 60, 200].into_iter().enumerate() {
        let runner = site.serve().await;
        let stage = format!("s{round}");
        site.setup(&stage).await;
        // It takes a while to end, and says so.
        let script = "trap 'echo asked; exit 9' TERM; echo begun; while :; do sleep 0.05; done";
        let (request, destroy) = (step(&stage, "b", script), json!({"id": stage}));
        let (running, _) = tokio::join!(site.post("/step", &request), async {
            printed(&site, &stage, "b", "begun").await;
            tokio::join!(site.post("/destroy", &destroy), async {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                runner.kill().await;
            })
        });
        let next = site.serve().await;
        site.destroy(&stage).await;
        let ended = site.insist("/step", &request).await;
        assert_eq!(ended.status, 200, "{ended:?}");
        assert_eq!(ended.json()["exited"], json!(true), "{ended:?}");
        assert_ne!(ended.json()["exit_code"], json!(0), "{ended:?}");
        // What was answered before the end stands.
        if let Some(running) = running {
            assert_eq!(running.body, ended.body);
        }
        site.wait_until_no_machine_is_left().await;
        let log = site.log(&stage, "b");
        assert!(log.starts_with("begun\n"), "{log}");
        next.kill().await;
    }
}
