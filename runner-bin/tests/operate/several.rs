//! Two runners on one PostgreSQL: what is another's is passed on (P9).

use serde_json::json;

use crate::fleet::{Fleet, insist};
use crate::support::{setup, step, wait_for};
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
