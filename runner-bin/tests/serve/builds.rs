//! The life of builds, and requests that come twice (P2, P9).

use serde_json::json;

use crate::support::{Site, step};

#[tokio::test]
async fn a_build_gets_a_machine_runs_its_steps_and_leaves_nothing() {
    let site = Site::new(0, 3);
    let runner = site.serve().await;
    let machine = site.setup("s").await;
    assert!(machine.starts_with("local-"), "{machine}");

    let ended = site
        .insist("/step", &step("s", "hi", "echo hello $WHO; exit 3"))
        .await;
    assert_eq!(
        ended.json(),
        json!({"exited": true, "exit_code": 3, "error": "exit status 3"})
    );
    assert_eq!(site.log("s", "hi"), "hello me\n");

    let owner = async |query: &str| {
        let answered = site
            .insist(&format!("/pool_owner?{query}"), &json!(null))
            .await;
        answered.json()["owner"].as_bool().expect("true or false")
    };
    assert!(owner("pool=linux").await);
    assert!(owner("pool=linux&stageId=s").await);
    assert!(!owner("pool=linux&stageId=other").await);
    assert!(!owner("pool=other").await);

    site.destroy("s").await;
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test]
async fn p9_the_same_request_twice_gives_the_same_at_once_and_later() {
    let site = Site::new(1, 4);
    let runner = site.serve().await;
    let (one, two) = tokio::join!(site.setup("s"), site.setup("s"));
    assert_eq!(one, two);
    assert_eq!(site.setup("s").await, one);

    let once = step("s", "count", "echo run; sleep 0.2");
    let (first, second) = tokio::join!(site.insist("/step", &once), site.insist("/step", &once));
    assert_eq!(first.json(), json!({"exited": true}));
    assert_eq!(second.body, first.body);
    assert_eq!(site.insist("/step", &once).await.body, first.body);
    assert_eq!(site.log("s", "count"), "run\n");

    site.destroy("s").await;
    site.destroy("s").await;
    site.destroy("never-was").await;
    // What was answered once is answered again after the stage's end.
    assert_eq!(site.insist("/step", &once).await.body, first.body);
    assert!(runner.stop().await.success());
}
