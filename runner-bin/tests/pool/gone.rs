//! Where nobody answers, or what is asked makes no sense.

use crate::support::{Site, free_port};
use crate::tools::{state, url, vmpool};

#[tokio::test(flavor = "multi_thread")]
async fn no_runner_is_exit_code_4_and_says_what_to_do() {
    let nobody = format!("127.0.0.1:{}", free_port());
    for command in [
        &["pool", "ls"][..],
        &["pool", "ledger"],
        &["explain", "S1"],
        &["sweep"],
    ] {
        let said = vmpool(&[command, &["--runner", &nobody]].concat()).await;
        assert_eq!(said.code, 4, "{said:?}");
        for part in [&nobody, "vmpool serve", "--state DIR"] {
            assert!(said.error.contains(part), "{part}: {said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_at_the_runner_s_other_port_is_told_which_one_it_is() {
    let site = Site::new(0, 1);
    let runner = site.serve().await;
    let http = format!("127.0.0.1:{}", site.port);
    let said = vmpool(&["pool", "ls", "--runner", &http]).await;
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.error.contains("--grpc-listen"), "{said:?}");
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p13_what_makes_no_sense_is_exit_code_2_and_changes_nothing() {
    let site = Site::new(0, 1);
    let state = state(&site);
    let said = vmpool(&["pool", "ls", "--state", &state]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.error.contains("it has no journal"), "{said:?}");
    assert!(!site.path().join("state").exists());

    let _runner = site.serve().await;
    let url = url(&site);
    for (arguments, why) in [
        (&["pool", "ls", "windows"][..], "no pool windows"),
        (&["pool", "ls", "a b\n"], "pool"),
        (&["explain", "nothing"], "nothing is known"),
        (&["explain", ""], "id is empty"),
        (&["sweep", "--deployment-id", ""], "--deployment-id"),
        (&["pool", "top"], "use vmpool pool ls"),
    ] {
        let said = vmpool(&[arguments, &["--runner", &url]].concat()).await;
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(said.error.contains(why), "{arguments:?}: {said:?}");
    }
    let said = vmpool(&["pool", "ls", "--runner", "ftp://127.0.0.1:1"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    let http = site.get("/healthz").await.expect("it lives");
    assert_eq!(http.status, 200);
}
