//! Pools that are cordoned, drained and filled.

use serde_json::json;

use crate::support::{Site, setup, wait_for};
use crate::tools::{state, vmpool};

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_pool_that_is_drained_by_a_command_says_so_until_it_is_filled() {
    let site = Site::new(1, 3);
    let runner = site.serve().await;
    let at = state(&site);
    site.setup("S1").await;

    let cordoned = ["pool", "cordon", "linux", "--why", "a new image", "--by"];
    let cordoned = vmpool(&[&cordoned[..], &["ann", "--state", &at]].concat()).await;
    assert_eq!(cordoned.code, 0, "{cordoned:?}");
    assert!(cordoned.out.contains("takes no new stages"), "{cordoned:?}");
    let refused = site.post("/setup", &setup("S2")).await.expect("an answer");
    assert_eq!(refused.status, 500, "{refused:?}");
    for told in ["ann cordoned it", "a new image"] {
        assert!(refused.body.contains(told), "{told}: {refused:?}");
    }
    // It is as ready as it can be: nobody is to send its callers elsewhere.
    let ready = site.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, 200, "{ready:?}");

    runner.kill().await;
    let runner = site.serve().await;
    let drained = json!({"by": "bob", "why": "now"});
    let drained = site.post("/pools/linux/drain", &drained).await;
    let drained = drained.expect("an answer");
    assert_eq!(drained.status, 200, "{drained:?}");
    assert_eq!(drained.json()["cordon"]["drains"], json!(true));
    wait_for("only the machine of S1 to be left", async || {
        let pool = site.get("/pools/linux").await?.json();
        let machines = pool["machines"].as_array()?.clone();
        (machines.len() == 1 && machines[0]["stage_id"] == "S1").then_some(())
    })
    .await;
    let shown = vmpool(&["pool", "ls", "--state", &at]).await;
    assert!(shown.out.contains("bob drained it"), "{shown:?}");

    site.destroy("S1").await;
    let empty = ["pool", "drain", "linux", "--wait", "2m", "--by", "bob"];
    let empty = vmpool(&[&empty[..], &["--why", "now", "--state", &at]].concat()).await;
    assert_eq!(
        (empty.code, empty.out.as_str()),
        (0, "pool linux is drained: it has no machines\n"),
        "{empty:?}"
    );
    let filled = vmpool(&["pool", "fill", "linux", "--state", &at, "--json"]).await;
    assert_eq!(filled.json()["cordon"], json!(null), "{filled:?}");
    site.setup("S2").await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_what_can_t_be_done_is_told_with_its_exit_code() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let at = state(&site);
    for (asked, code, told) in [
        (
            &["pool", "drain", "windows"][..],
            2,
            "there is no pool windows",
        ),
        (&["pool", "fill", "no pool"], 2, "pool:"),
        (
            &["pool", "cordon", "linux", "--why", "a\nb"],
            2,
            "why: has control characters",
        ),
        (&["stage", "cancel", "S9"], 2, "there is no stage S9"),
        (&["logs", "S9", "build"], 2, "there is no stage S9"),
        (
            &["stage", "ls", "--pool", "windows"],
            2,
            "there is no pool windows",
        ),
    ] {
        let said = vmpool(&[asked, &["--state", &at]].concat()).await;
        assert_eq!(said.code, code, "{asked:?}: {said:?}");
        assert!(said.error.contains(told), "{asked:?}: {said:?}");
        assert_eq!(said.out, "", "{asked:?}");
    }
    for (path, body, status) in [
        ("/pools/windows/drain", "", 404),
        ("/pools/linux/drain", "{", 400),
        ("/pools/linux/drain", r#"{"reason": "x"}"#, 400),
        ("/stages/S9/cancel", "", 404),
        ("/stages/S9/steps/build/cancel", "", 404),
    ] {
        let answered = site.ask("POST", path, body.into()).await;
        let answered = answered.expect("an answer");
        assert_eq!(answered.status, status, "{path}: {answered:?}");
        assert!(answered.json()["error_msg"].is_string(), "{answered:?}");
    }
    assert!(runner.stop().await.success());
    let nobody = vmpool(&["pool", "drain", "linux", "--state", &at]).await;
    assert_eq!(nobody.code, 4, "{nobody:?}");
    assert!(nobody.error.contains("start one with"), "{nobody:?}");
}
