//! A machine that is kept after its stage's end, by the command and by HTTP.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Site, step, wait_for};
use crate::tools::{state, vmpool};

/// The one machine that is held, as `/pools/linux` shows it.
async fn held(site: &Site) -> Value {
    wait_for("a machine that is held", async || {
        let pool = site.get("/pools/linux").await?.json();
        let machines = pool["machines"].as_array()?.clone();
        machines.into_iter().find(|it| it["state"] == "held")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_stage_s_machine_is_kept_with_its_files_and_reason_until_it_is_released() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let at = state(&site);
    let machine = site.setup("S1").await;
    let kept = site.path().join("kept");
    let script = format!("pwd > {}; echo evidence > left; exit 3", kept.display());
    let failed = site.insist("/step", &step("S1", "build", &script)).await;
    assert_eq!(failed.json()["exit_code"], 3, "{failed:?}");

    let hold = ["hold", "S1", "--for", "2h", "--why", "why does it fail?"];
    let said = vmpool(&[&hold[..], &["--by", "ann", "--state", &at]].concat()).await;
    assert_eq!(said.code, 0, "{said:?}");
    for told in [
        format!("machine {machine} is kept for 2 h 00 m after the end of stage S1"),
        "it costs 2 h 00 m of a machine, at a price that is not known here, and one slot of pool \
         linux for as long"
            .to_owned(),
        "reach it at 127.0.0.1".to_owned(),
        "vmpool hold S1 --release".to_owned(),
    ] {
        assert!(said.out.contains(&told), "{told}: {said:?}");
    }
    site.destroy("S1").await;
    let shown = held(&site).await;
    assert_eq!(shown["id"], json!(machine));
    assert_eq!(shown["hold"]["by"], "ann", "{shown}");
    assert_eq!(shown["hold"]["why"], "why does it fail?", "{shown}");
    let folder = fs::read_to_string(&kept).expect("where the step was");
    let left = fs::read_to_string(format!("{}/left", folder.trim()));
    assert_eq!(left.expect("it is left as it was"), "evidence\n");

    // Longer, by HTTP: from now, as the stage has ended; and after a restart.
    runner.kill().await;
    let runner = site.serve().await;
    let asked = json!({"lasts_ms": 3_600_000, "by": "bob", "why": "lunch"});
    let told = site.insist("/stages/S1/hold", &asked).await;
    assert_eq!(told.status, 200, "{told:?}");
    let told = told.json();
    assert_eq!(
        (&told["machine_id"], &told["pool"]),
        (&json!(machine), &json!("linux"))
    );
    assert_eq!(told["hold"]["by"], "bob", "{told}");
    assert!(told["hold"]["until_unix_ms"].is_u64(), "{told}");
    assert_eq!(told["dollars_an_hour"], json!(null), "nobody knows: {told}");
    let too_long = json!({"lasts_ms": 1_000_000_000_000_u64});
    let refused = site.insist("/stages/S1/hold", &too_long).await;
    assert_eq!(refused.status, 400, "P13: {refused:?}");
    let unknown = site.insist("/stages/S2/hold", &asked).await;
    assert_eq!(unknown.status, 404, "P13: {unknown:?}");

    // Its slot is taken, and free once it is let go: twice is no error (P9).
    for _ in 0..2 {
        let released = site.ask("DELETE", "/stages/S1/hold", "".into()).await;
        assert_eq!(released.expect("an answer").status, 204);
    }
    let next = site.setup("S3").await;
    assert_ne!(next, machine, "P2");
    site.destroy("S3").await;
    assert!(runner.stop().await.success());
}
