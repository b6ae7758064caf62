//! What a request gets.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use vmpool_core::pool::{AcquireError, Origin, RequestHash, TryAcquireError};
use vmpool_core::testkit::Call;
use vmpool_core::{AcquireRequest, Lease, Pool};

use crate::harness::{World, patient};

#[tokio::test(start_paused = true)]
async fn a_ready_machine_is_had_at_once_and_replaced() {
    let world = World::new(2, 5).await;
    world.ready(2).await;
    let lease = world.lease("build-1").await;
    assert_eq!(lease.origin(), Origin::Warm);
    assert_eq!(lease.stage().as_str(), "build-1");
    world
        .until("refilled", |status| {
            status.ready == 2 && status.claimed == 1
        })
        .await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_to_an_empty_pool_waits_for_its_machine() {
    let world = World::new(0, 5).await;
    let lease = world.lease("build-1").await;
    assert!(matches!(lease.origin(), Origin::Waited(_)));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p2_a_released_machine_is_never_handed_out_again() {
    let world = World::new(1, 1).await;
    let first = world.lease("build-1").await;
    world.release("build-1").await;
    let second = world.lease("build-2").await;
    assert_ne!(first.machine_id(), second.machine_id());
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p7_fifty_requests_on_five_machines_keep_the_limit_and_all_end() {
    let world = Arc::new(World::new(2, 5).await);
    let mut requests = JoinSet::new();
    for n in 0..50 {
        let world = world.clone();
        requests.spawn(async move {
            let stage = format!("build-{n}");
            let lease = world.lease(&stage).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.release(&stage).await;
            lease.machine_id().clone()
        });
    }
    let mut machines = requests.join_all().await;
    machines.sort();
    machines.dedup();
    assert_eq!(machines.len(), 50, "each stage has a machine of its own");
    assert!(world.provider.most_alive() <= 5);
    Arc::into_inner(world)
        .expect("all requests are over")
        .end()
        .await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order() {
    let world = Arc::new(World::new(0, 1).await);
    world.lease("first").await;
    let (served, mut order) = tokio::sync::mpsc::channel(10);
    let mut requests = JoinSet::new();
    for n in 0..10u32 {
        let (theirs, served) = (world.clone(), served.clone());
        requests.spawn(async move {
            theirs.lease(&format!("build-{n}")).await;
            served.send(n).await.expect("the test listens");
            theirs.release(&format!("build-{n}")).await;
        });
        world
            .until("one more waits", |status| status.waiting == n + 1)
            .await;
    }
    world.release("first").await;
    drop(served);
    let mut seen = Vec::new();
    while let Some(n) = order.recv().await {
        seen.push(n);
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    requests.join_all().await;
    Arc::into_inner(world)
        .expect("all requests are over")
        .end()
        .await;
}

#[tokio::test(start_paused = true)]
async fn p9_the_same_request_at_the_same_time_gets_the_same_machine() {
    let world = Arc::new(World::new(0, 5).await);
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let world = world.clone();
        requests.spawn(async move { world.lease("build-1").await });
    }
    let leases: Vec<Lease> = requests.join_all().await;
    assert!(
        leases
            .iter()
            .all(|lease| lease.machine_id() == leases[0].machine_id())
    );
    assert_eq!(world.status().claimed, 1);
    Arc::into_inner(world)
        .expect("all requests are over")
        .end()
        .await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_retry_gets_the_same_machine_and_another_request_is_a_conflict() {
    let world = World::new(1, 5).await;
    let first = world.lease("build-1").await;
    let again = world.lease("build-1").await;
    assert_eq!(first.machine_id(), again.machine_id());
    assert_eq!(again.origin(), Origin::Attached);
    let other = AcquireRequest {
        hash: RequestHash([1; 16]),
        ..AcquireRequest::new("build-1")
    };
    let refused = world
        .pool
        .acquire(other)
        .await
        .expect_err("another content");
    assert!(
        matches!(
            refused,
            AcquireError::Conflict {
                field: "content",
                ..
            }
        ),
        "{refused}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_release_may_be_repeated_and_a_stage_that_is_over_stays_over() {
    let world = World::new(1, 5).await;
    world.lease("build-1").await;
    world.release("build-1").await;
    world.release("build-1").await;
    world.release("never-heard-of").await;
    let refused = world
        .acquire("build-1")
        .await
        .expect_err("a stage has one machine, ever");
    assert_eq!(refused.to_string(), "stage build-1 is over: released");
    let attached = world
        .pool
        .attach(&"build-1".into())
        .await
        .expect_err("it is over");
    assert_eq!(attached.to_string(), "stage build-1 is over: released");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn trying_never_waits() {
    let world = World::new(1, 1).await;
    let none = world.pool.try_acquire(AcquireRequest::new("build-0")).await;
    assert!(matches!(none, Err(TryAcquireError::NoneReady { .. })));
    world.ready(1).await;
    world
        .pool
        .try_acquire(AcquireRequest::new("build-1"))
        .await
        .expect("one is ready");
    let none = world.pool.try_acquire(AcquireRequest::new("build-2")).await;
    assert!(matches!(none, Err(TryAcquireError::NoneReady { .. })));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_request_that_gets_nothing_ends_at_its_deadline_and_frees_its_place() {
    let world = World::new(0, 1).await;
    world.lease("build-1").await;
    let wait = Duration::from_secs(30);
    let begun = tokio::time::Instant::now();
    let late = world
        .pool
        .acquire(patient("build-2", wait))
        .await
        .expect_err("the limit is 1");
    assert_eq!(begun.elapsed(), wait);
    assert!(matches!(late, AcquireError::Deadline { .. }), "{late}");
    assert_eq!(world.status().waiting, 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_request_too_many_is_refused_at_once() {
    let mut config = vmpool_core::PoolConfig::new("linux", 0, 1);
    config.max_waiting = 1;
    let world = Arc::new(World::with(config, vmpool_core::testkit::FaultPlan::none()).await);
    world.lease("build-1").await;
    let waiter = {
        let world = world.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { world.acquire("build-2").await });
        tasks
    };
    world.until("one waits", |status| status.waiting == 1).await;
    let refused = world
        .acquire("build-3")
        .await
        .expect_err("the queue is full");
    assert!(
        matches!(refused, AcquireError::QueueFull { waiting: 1, .. }),
        "{refused}"
    );
    drop(waiter);
    world
        .until("nobody waits", |status| status.waiting == 0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_warm_acquire_makes_no_provider_call() {
    let world = World::new(3, 3).await;
    world.ready(3).await;
    let before: Vec<u64> = [Call::Launch, Call::List, Call::Terminate]
        .map(|call| world.provider.calls(call))
        .into();
    world.lease("build-1").await;
    let after: Vec<u64> = [Call::Launch, Call::List, Call::Terminate]
        .map(|call| world.provider.calls(call))
        .into();
    assert_eq!(before, after);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_told_ready_can_be_had_at_once() {
    for round in 0..50 {
        let world = World::new(1, 1).await;
        let mut events = world.pool.events();
        while world.status().ready == 0 {
            events.next().await.expect("the pool is there");
        }
        let stage = format!("build-{round}");
        let lease = world.pool.try_acquire(AcquireRequest::new(stage)).await;
        assert_eq!(lease.expect("it is ready").origin(), Origin::Warm);
        world.end().await;
    }
}
