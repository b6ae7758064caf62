//! Fallback pools: cases 8, 9 and 15.

use std::path::Path;

use serde_json::json;

use crate::support::{Site, setup};

/// A site with a pool that has one machine at most, and a pool `bench`.
fn site() -> Site {
    let site = Site::new(0, 1);
    let root = site.path().join("machines");
    site.pool_file(&format!(
        "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: 0\n  limit: 1\n  \
         spec:\n    root: {root}\n    deadlines: {{acquire: 12s}}\n- name: bench\n  type: local\n  \
         pool: 0\n  limit: 3\n  spec: {{root: {root}}}\n",
        root = root.display(),
    ));
    site
}

#[tokio::test]
async fn case_8_an_unknown_pool_falls_back_and_a_retry_finds_the_machine() {
    let site = site();
    let _runner = site.serve().await;
    let body = json!({"id": "s", "pool_id": "nope", "fallback_pool_ids": ["bench"]});
    let answered = site.insist("/setup", &body).await;
    assert_eq!(answered.json()["instance_info"]["pool_name"], "bench");
    let again = site.insist("/setup", &body).await;
    assert_eq!(again.machine(), answered.machine(), "P9");
    let owns = site
        .ask("POST", "/pool_owner?pool=bench&stageId=s", "".into())
        .await;
    assert_eq!(owns.expect("an answer").body, "{\"owner\":true}");
    site.destroy("s").await;
}

#[tokio::test]
async fn case_9_the_deployments_fallbacks_are_for_requests_that_name_none() {
    let site = site();
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let _runner = site
        .ready(command.arg("--fallback-pools=linux,bench"))
        .await;
    let none = json!({"id": "s", "pool_id": "nope", "fallback_pool_ids": null});
    let answered = site.insist("/setup", &none).await;
    assert_eq!(answered.json()["instance_info"]["pool_name"], "linux");
    let empty = json!({"id": "t", "pool_id": "nope", "fallback_pool_ids": []});
    let answered = site.insist("/setup", &empty).await;
    assert_eq!(
        answered.json()["instance_info"]["pool_name"],
        "bench",
        "linux has none left"
    );
    let own = json!({"id": "u", "pool_id": "nope", "fallback_pool_ids": ["neither"]});
    let told = site.insist("/setup", &own).await;
    assert_eq!(told.status, 500);
    let why = "could not provision a VM from the pool: nope: could not find pool: nope; neither: \
               could not find pool: neither";
    assert_eq!(told.json()["error_msg"], why, "P3: each is named");
    site.destroy("s").await;
    site.destroy("t").await;
}

#[tokio::test]
async fn case_15_a_pool_that_has_no_machine_in_time_gives_way_to_the_next_one() {
    let site = site();
    let _runner = site.serve().await;
    site.setup("first").await;
    let alone = site.insist("/setup", &setup("alone")).await;
    assert_eq!(alone.status, 500, "P3: {alone:?}");
    assert!(alone.body.contains("no machine of pool linux"), "{alone:?}");
    let mut body = setup("second");
    body["fallback_pool_ids"] = json!(["bench"]);
    let answered = site.insist("/setup", &body).await;
    assert_eq!(answered.json()["instance_info"]["pool_name"], "bench");
    let metrics = site.get("/metrics").await.expect("an answer").body;
    let lines = metrics.lines();
    let mut counted = lines.filter(|line| line.starts_with("harness_ci_pipeline_pool_fallbacks"));
    let counted = counted.next().unwrap_or_default();
    for told in ["pool_id=\"bench\"", "success=\"true\"", "} 1"] {
        assert!(counted.contains(told), "{told}: {counted}");
    }
    site.destroy("first").await;
    // There is room in the first pool now; the stage keeps what it has.
    assert_eq!(
        site.insist("/setup", &body).await.machine(),
        answered.machine(),
        "P2, P9"
    );
    site.destroy("second").await;
}
