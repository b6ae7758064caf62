//! A pool under a lease: while that may not hold, nothing is written and the
//! provider is told nothing; all of it goes on when it holds again.

use std::time::Duration;

use vmpool_core::testkit::Call;
use vmpool_core::{AcquireRequest, Pool, PoolConfig, WarmPool};

use crate::harness::{World, patient};

#[tokio::test(start_paused = true)]
async fn p3_requests_go_on_waiting_while_the_lease_may_not_hold() {
    let (world, holds) = World::ruled(PoolConfig::new("linux", 1, 3)).await;
    world.ready(1).await;
    holds.send_replace(false);
    let lapses = tokio::time::sleep(Duration::from_secs(20));
    let comes_back = async {
        lapses.await;
        assert_eq!(world.status().ready, 1, "none was handed out");
        holds.send_replace(true);
    };
    // One finds a machine ready, the other waits for one that is not even ordered.
    let (first, second, ()) = tokio::join!(
        world.acquire("build-1"),
        world.acquire("build-2"),
        comes_back
    );
    first.expect("it has its machine");
    second.expect("it has its machine");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_request_whose_deadline_comes_meanwhile_is_told_so_and_takes_no_machine() {
    let (world, holds) = World::ruled(PoolConfig::new("linux", 1, 1)).await;
    world.ready(1).await;
    holds.send_replace(false);
    let late = world
        .pool
        .acquire(patient("build-1", Duration::from_secs(10)))
        .await
        .expect_err("nothing can be written");
    assert!(
        late.to_string().contains("was not renewed in time"),
        "{late}"
    );
    let now = world.pool.try_acquire(AcquireRequest::new("build-2")).await;
    now.expect_err("nothing can be written");
    holds.send_replace(true);
    world.lease("build-3").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_p2_the_provider_is_told_nothing_while_another_runner_may_rule() {
    let (world, holds) = World::ruled(PoolConfig::new("linux", 1, 3)).await;
    world.provider.terminate_late();
    world.lease("build-1").await;
    world.release("build-1").await;
    world
        .until("called", |_| world.provider.calls(Call::Terminate) > 0)
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    holds.send_replace(false);
    world.pool.resize(3, 3);
    // A call that was under way may still be answered.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calls = || {
        let of = |call| world.provider.calls(call);
        (of(Call::Terminate), of(Call::Launch), of(Call::List))
    };
    let before = calls();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(calls(), before);
    holds.send_replace(true);
    world.provider.finish_endings();
    world.ready(3).await;
    world.pool.resize(0, 3);
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.provider.finish_endings();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p2_a_pool_that_was_taken_over_touches_no_machine_any_more() {
    let world = World::new(2, 3).await;
    world.ready(2).await;
    let lease = world.lease("build-1").await;
    let newer = WarmPool::start(world.config.clone(), world.parts.clone())
        .await
        .expect("starts");
    // It finds out by its next write.
    world.acquire("build-2").await.expect_err("it is fenced");
    let evidence = world.status().evidence.len();
    let before = world.provider.alive();
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(world.status().evidence.len(), evidence, "it does nothing");
    assert!(before.iter().all(|id| world.provider.alive().contains(id)));
    newer.attach(&"build-1".into()).await.expect("it goes on");
    let release = world.pool.release(&"build-1".into()).await;
    release.expect_err("it is the other's");
    assert!(world.provider.alive().contains(lease.machine_id()));
    let left = newer.shutdown(Duration::from_secs(600)).await;
    assert!(left.is_empty(), "{left:?}");
}
