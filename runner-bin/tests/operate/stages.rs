//! Stages: shown, explained, cancelled.

use serde_json::json;

use crate::support::{Site, step, wait_for};
use crate::tools::{state, vmpool};

/// Waits until the step is known to run.
pub(crate) async fn runs(site: &Site, stage: &str, id: &str) {
    wait_for(&format!("step {id} of {stage} to run"), async || {
        let stage = site.get(&format!("/stages/{stage}")).await?;
        let stage = (stage.status == 200).then(|| stage.json())?;
        let steps = stage["steps"].as_array()?.clone();
        let runs = |step: &serde_json::Value| step["id"] == id && step["state"] == "running";
        steps.iter().any(runs).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_step_and_then_its_stage_are_cancelled_and_who_waits_is_told() {
    let site = Site::new(1, 2);
    let runner = site.serve().await;
    let at = state(&site);
    let machine = site.setup("S1").await;
    let long = step("S1", "long", "echo begun; sleep 1000");
    let cancels = async {
        runs(&site, "S1", "long").await;
        let listed = vmpool(&["stage", "ls", "--state", &at]).await;
        for told in ["S1", "prepared", "long runs", &machine] {
            assert!(listed.out.contains(told), "{told}: {listed:?}");
        }
        let path = "/stages/S1/steps/long/cancel";
        let cancelled = site.post(path, &json!({})).await.expect("an answer");
        assert_eq!(cancelled.status, 204, "{cancelled:?}");
    };
    let (answered, ()) = tokio::join!(site.insist("/step", &long), cancels);
    assert_eq!(
        answered.json()["error"],
        json!("the step was cancelled"),
        "{answered:?}"
    );
    // P9: once more changes nothing.
    let again = vmpool(&["stage", "cancel", "S1", "long", "--state", &at]).await;
    assert_eq!(again.code, 0, "{again:?}");
    let unknown = vmpool(&["stage", "cancel", "S1", "other", "--state", &at]).await;
    assert_eq!(unknown.code, 2);
    assert!(
        unknown
            .error
            .contains("stage S1 has no step other: it has long"),
        "{unknown:?}"
    );

    let cancelled = [
        "stage",
        "cancel",
        "S1",
        "--why",
        "wrong branch",
        "--state",
        &at,
    ];
    let cancelled = vmpool(&cancelled).await;
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    let stage = site.get("/stages/S1").await.expect("an answer").json();
    assert_eq!(stage["state"], json!("ended"));
    let ended = stage["ended"].as_str().expect("how it ended");
    assert!(ended.ends_with("cancelled it: wrong branch"), "{ended}");
    assert_eq!(stage["steps"][0]["state"], json!("cancelled"));
    let story = site
        .get("/stages/S1/explain")
        .await
        .expect("an answer")
        .json();
    let summary = story["summary"].as_str().expect("a sentence");
    assert!(summary.contains("wrong branch"), "{summary}");
    let listed = vmpool(&["stage", "ls", "--state", &at, "--json"]).await;
    assert_eq!(listed.json()["stages"], json!([]), "{listed:?}");
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_waits_is_shown_and_can_be_cancelled() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let at = state(&site);
    site.setup("S1").await;
    let waiting = crate::support::setup("S2");
    let cancels = async {
        wait_for("S2 to wait", async || {
            let listed = site.get("/stages").await?.json();
            let stages = listed["stages"].as_array()?.clone();
            let waits = |it: &serde_json::Value| it["id"] == "S2" && it["state"] == "waiting";
            stages.iter().any(waits).then_some(())
        })
        .await;
        let cancelled = vmpool(&["stage", "cancel", "S2", "--state", &at]).await;
        assert_eq!(cancelled.code, 0, "{cancelled:?}");
    };
    let (answered, ()) = tokio::join!(site.post("/setup", &waiting), cancels);
    let answered = answered.expect("an answer");
    assert_eq!(answered.status, 500, "{answered:?}");
    assert!(
        answered.body.contains("destroyed while it waited"),
        "{answered:?}"
    );

    // What no runner is there to tell, the journal does.
    runner.kill().await;
    let listed = vmpool(&["stage", "ls", "--state", &at, "--json"]).await;
    assert_eq!(listed.json()["stages"][0]["id"], json!("S1"), "{listed:?}");
    drop(site.serve().await);
}
