//! Two runners on one PostgreSQL: what is another's is passed on (P9).

use serde_json::{Value, json};

use crate::fleet::{Fleet, insist};
use crate::support::{ask, setup, step, wait_for};
use crate::tools::vmpool;

#[tokio::test(flavor = "multi_thread")]
async fn p9_what_is_told_to_the_wrong_runner_is_done_by_the_right_one() {
    let fleet = Fleet::new(1, 3).await;
    let (one, two) = (fleet.runner("one").await, fleet.runner("two").await);
    assert_eq!(fleet.owner().await.as_ref(), Some(&one.url));
    let other = fleet.site.path().join("two").display().to_string();
    insist(&[&one], "/setup", &setup("S1")).await.machine();
    let running = step("S1", "long", "echo begun; sleep 1000");
    let told = async {
        // The logs' place is the deployment's: any runner reads them.
        wait_for("the first line", async || {
            let log = vmpool(&["logs", "S1", "long", "--state", &other]).await;
            (log.out == "begun\n").then_some(())
        })
        .await;
        let listed = vmpool(&["stage", "ls", "--state", &other]).await;
        assert!(listed.out.contains("long runs"), "{listed:?}");
        let drained = ["pool", "drain", "linux", "--by", "ann", "--state", &other];
        let drained = vmpool(&drained).await;
        assert_eq!(drained.code, 0, "{drained:?}");
        let refused = two.post("/setup", &setup("S2")).await.expect("an answer");
        assert!(refused.body.contains("ann drained it"), "{refused:?}");
        let shown = vmpool(&["pool", "ls", "linux", "--state", &other, "--json"]).await;
        let pool = &shown.json()["pools"][0];
        assert_eq!(pool["ours"], json!(false), "{shown:?}");
        assert_eq!(pool["cordon"]["by"], json!("ann"), "{shown:?}");
        let cancelled = vmpool(&["stage", "cancel", "S1", "long", "--state", &other]).await;
        assert_eq!(cancelled.code, 0, "{cancelled:?}");
    };
    let (answered, ()) = tokio::join!(one.post("/step", &running), told);
    let answered = answered.expect("an answer");
    assert_eq!(
        answered.json()["error"],
        json!("the step was cancelled"),
        "{answered:?}"
    );
    // The word outlasts its runner.
    one.process.kill().await;
    let refused = insist(&[&two], "/setup", &setup("S3")).await;
    assert!(refused.body.contains("ann drained it"), "{refused:?}");
    let filled = insist(&[&two], "/pools/linux/fill", &json!({})).await;
    assert_eq!(filled.status, 200, "{filled:?}");
    insist(&[&two], "/setup", &setup("S3")).await.machine();
    assert!(two.process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_waits_at_another_runner_is_shown_and_stops_waiting_when_it_is_told_to() {
    let fleet = Fleet::new(0, 1).await;
    let (one, two) = (fleet.runner("one").await, fleet.runner("two").await);
    assert_eq!(fleet.owner().await.as_ref(), Some(&one.url));
    insist(&[&one], "/setup", &setup("S1")).await.machine();
    for (stage, path, body, done) in [
        ("S2", "/stages/S2/cancel", json!({}), 204),
        ("S3", "/destroy", json!({"id": "S3"}), 200),
    ] {
        let tells = async {
            wait_for("a stage that waits", async || {
                let listed = ask(two.port, "GET", "/stages", "".into()).await?.json();
                let stages = listed["stages"].as_array()?.clone();
                let waits = |it: &Value| it["id"] == stage && it["state"] == "waiting";
                stages.iter().any(waits).then_some(())
            })
            .await;
            let shown = ask(two.port, "GET", &format!("/stages/{stage}"), "".into()).await;
            assert_eq!(shown.expect("an answer").json()["state"], "waiting");
            let told = two.post(path, &body).await.expect("an answer");
            assert_eq!(told.status, done, "{told:?}");
        };
        let request = setup(stage);
        let (answered, ()) = tokio::join!(one.post("/setup", &request), tells);
        let answered = answered.expect("an answer");
        assert_eq!(answered.status, 500, "{answered:?}");
        assert!(
            answered.body.contains("destroyed while it waited"),
            "{answered:?}"
        );
    }
    insist(&[&two], "/destroy", &json!({"id": "S1"})).await;
    assert!(two.process.stop().await.success());
    assert!(one.process.stop().await.success());
}
