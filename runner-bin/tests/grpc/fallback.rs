//! Fallback pools, as over HTTP: the next pool where the one before has no machine.

use tonic::Code;
use vmpool_proto::v1::acquire_progress::Progress;
use vmpool_proto::v1::{AcquireRequest, WatchEventsRequest};

use crate::client::{acquire, builds, lease, reason, release};
use crate::support::Site;

/// A pool of one machine, which is asked first, and a pool `bench`.
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

fn with(stage: &str, fallbacks: &[&str]) -> AcquireRequest {
    AcquireRequest {
        fallback_pools: fallbacks.iter().map(|&pool| pool.to_owned()).collect(),
        ..acquire(stage)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_has_no_machine_in_time_gives_way_and_progress_and_events_name_the_pool() {
    let site = site();
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let mut events = builds
        .watch_events(WatchEventsRequest {
            pool: "linux".to_owned(),
            after_seq: None,
        })
        .await
        .expect("it is taken")
        .into_inner();
    let first = builds.acquire(acquire("first")).await.expect("it is taken");
    let (first, _) = lease(first.into_inner()).await.expect("a machine");
    assert_eq!(first.pool, "linux");

    let mut progress = builds
        .acquire(with("second", &["nowhere", "bench"]))
        .await
        .expect("it is taken")
        .into_inner();
    let mut asked = Vec::new();
    let got = loop {
        let told = progress
            .message()
            .await
            .expect("a machine")
            .expect("a machine");
        if asked.last() != Some(&told.pool) {
            asked.push(told.pool.clone());
        }
        if let Some(Progress::Ready(lease)) = told.progress {
            break lease;
        }
    };
    assert_eq!(
        (got.pool.as_str(), asked[0].as_str()),
        ("bench", "linux"),
        "{asked:?}"
    );
    assert_eq!(asked.last().map(String::as_str), Some("bench"), "{asked:?}");
    let metrics = site.get("/metrics").await.expect("an answer").body;
    let mut lines = metrics.lines();
    let counted = lines.find(|line| line.starts_with("harness_ci_pipeline_pool_fallbacks"));
    let counted = counted.expect("it is counted");
    assert!(counted.contains("pool_id=\"bench\""), "{counted}");

    // There is room in the first pool now; the stage keeps what it has.
    builds.release(release("first")).await.expect("released");
    let again = builds
        .acquire(with("second", &["bench"]))
        .await
        .expect("it is taken");
    let (again, _) = lease(again.into_inner()).await.expect("the same machine");
    assert_eq!(again.machine_id, got.machine_id, "P2, P9");

    // What happened to who waited in vain is told as the pool's.
    loop {
        let event = events
            .message()
            .await
            .expect("it goes on")
            .expect("it goes on");
        assert_eq!(event.pool, "linux", "{event:?}");
        if event.stage_id == "second" {
            break;
        }
    }
    builds.release(release("second")).await.expect("released");
    site.wait_until_no_machine_is_left().await;
    assert!(runner.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_where_no_pool_has_a_machine_each_is_named_with_its_reason() {
    let site = site();
    let runner = site.serve().await;
    let mut builds = builds(&site);
    let mut none = with("s", &["neither"]);
    none.pool = "nope".to_owned();
    let refused = builds.acquire(none).await.expect("it is taken");
    let refused = lease(refused.into_inner())
        .await
        .expect_err("there is none");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::NotFound, "UNKNOWN_POOL")
    );
    for told in ["nope: ", "; neither: "] {
        assert!(refused.message().contains(told), "{told}: {refused:?}");
    }
    let bad = builds.acquire(with("s", &["a\nb"])).await;
    let bad = bad.expect_err("it is no name");
    assert_eq!(reason(&bad), "INVALID_FIELD");
    assert!(bad.message().starts_with("fallback_pools[0]: "), "{bad:?}");
    assert!(runner.stop().await.success());
}
