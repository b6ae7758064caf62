//! However a runner ends, the builds go on (P4).

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Site, step, wait_for};

/// Prints its lines slowly enough for a runner to end in between.
const SLOW: &str = "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.3; done";

fn whole_log() -> String {
    [1, 2, 3, 4, 5, 6, 7, 8]
        .map(|n| format!("line {n}\n"))
        .concat()
}

#[tokio::test]
async fn p4_a_runner_killed_in_the_middle_of_a_step_loses_nothing() {
    let site = Site::new(1, 3);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    let request = step("s", "slow", SLOW);
    let (asked, ()) = tokio::join!(site.post("/step", &request), async {
        wait_for("the first line", async || {
            site.log("s", "slow").contains("line 2").then_some(())
        })
        .await;
        runner.kill().await;
    });
    assert!(asked.is_none(), "{asked:?}");

    let next = site.serve().await;
    assert_eq!(site.setup("s").await, machine);
    let ended = site.insist("/step", &request).await;
    assert_eq!(ended.json(), json!({"exited": true}));
    assert_eq!(site.log("s", "slow"), whole_log());
    site.destroy("s").await;
    assert!(next.stop().await.success());
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
        wait_for("the first line", async || {
            site.log("s", "slow").contains("line 1").then_some(())
        })
        .await;
        runner.signal(Signal::SIGTERM);
        runner.end().await
    });
    assert!(status.success());
    let asked = asked.expect("an answer");
    assert_eq!(asked.status, 503, "{asked:?}");
    assert!(asked.retry_after.is_some());

    let next = site.serve().await;
    assert_eq!(
        site.insist("/step", &request).await.json(),
        json!({"exited": true})
    );
    assert_eq!(site.log("s", "slow"), whole_log());
    site.destroy("s").await;
    assert!(next.stop().await.success());
}
