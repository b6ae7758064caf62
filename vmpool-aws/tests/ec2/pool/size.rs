//! What a large pool costs EC2 (P8).

use std::time::Duration;

use tokio::task::JoinSet;
use vmpool_core::Pool as _;

use super::wide;
use super::world::{World, prepare, request, until};
use crate::support::template;

#[tokio::test(start_paused = true)]
async fn p8_a_pool_of_fifty_fills_with_at_most_five_launch_calls() {
    for template in [template(), wide()] {
        let world = World::new(template).await;
        let pool = world.pool(50, 60).await;
        until(&pool, "full pool", |status| status.ready == 50).await;
        let launches = world.calls("RunInstances") + world.calls("CreateFleet");
        assert!(launches <= 5, "{launches} launch calls");
        assert_eq!(world.throttled(), 0);
        world.settled(&pool).await;
        world.end(pool).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_thousand_claims_in_a_burst_cost_no_more_than_the_buckets_allow() {
    let world = World::new(template()).await;
    let pool = world.pool(50, 1100).await;
    until(&pool, "full pool", |status| status.ready == 50).await;
    let mut requests = JoinSet::new();
    for n in 0..1000 {
        let pool = pool.clone();
        let request = request(&format!("build-{n}"), Duration::from_mins(30));
        requests.spawn(async move { (n, pool.acquire(request).await.expect("a machine")) });
        // Each is in line before the next one.
        tokio::task::yield_now().await;
    }
    let mut leases = Vec::new();
    while let Some(served) = requests.join_next().await {
        leases.push(served.expect("no panic"));
    }
    leases.sort_by_key(|(n, _)| *n);
    assert!(
        leases.is_sorted_by_key(|(_, lease)| lease.claimed_at()),
        "who came first is served first"
    );
    // EC2 throttles by its own buckets, so none was asked more than it allows.
    assert_eq!(world.throttled(), 0, "{:?}", pool.status().evidence);
    let launches = world.calls("RunInstances");
    assert!(launches <= 60, "{launches} calls for 1 050 machines");
    world.within(&pool.status());
    drop(pool);
    world.fake.stop().await;
}

#[tokio::test(start_paused = true)]
async fn p8_what_builds_wait_for_is_launched_before_another_pools_reserve() {
    let world = World::new(template()).await;
    let account = world.account();
    let busy = world.pool_of("busy", 0, 400, &account).await;
    let idle = world.pool_of("idle", 0, 400, &account).await;
    until(&busy, "a first look", |status| status.checked_at.is_some()).await;
    until(&idle, "a first look", |status| status.checked_at.is_some()).await;
    // The buckets are full, and both want more than they hold.
    idle.resize(300, 400);
    let mut requests = JoinSet::new();
    for n in 0..300 {
        let pool = busy.clone();
        let request = request(&format!("build-{n}"), Duration::from_mins(30));
        requests.spawn(async move {
            let lease = pool.acquire(request).await.expect("a machine");
            prepare(&pool, lease.stage()).await;
        });
    }
    requests.join_all().await;
    let busys: Vec<bool> = world.cloud().with(|cloud, _| {
        let calls = cloud.record.calls();
        let launches = calls.filter(|call| call.action == "RunInstances");
        let of_busy = launches.map(|call| call.params.values().any(|value| value == "busy"));
        of_busy.collect()
    });
    // 300 machines are 12 launches. One turn in eight is the oldest's.
    let idles = busys.iter().take(14).filter(|busy| !**busy).count();
    assert!(idles <= 4, "{busys:?}");
    until(&idle, "full pool", |status| status.ready == 300).await;
    busy.shutdown(Duration::from_mins(10)).await;
    idle.shutdown(Duration::from_mins(10)).await;
    assert!(world.alive().is_empty());
}
