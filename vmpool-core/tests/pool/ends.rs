//! Deadlines, ages, sizes, and the end of a pool.

use std::time::Duration;

use vmpool_core::pool::{AcquireError, Heard, PoolEvent};
use vmpool_core::stage::StageEvent;
use vmpool_core::testkit::{Call, FaultPlan};
use vmpool_core::{AcquireRequest, Pool, PoolConfig};

use crate::harness::World;

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_not_prepared_in_time_ends() {
    let world = World::new(1, 2).await;
    world.lease("build-1").await;
    tokio::time::sleep(world.config.deadlines.prepare).await;
    world.until("ended", |status| status.claimed == 0).await;
    let over = world
        .pool
        .attach(&"build-1".into())
        .await
        .expect_err("over time");
    assert!(over.to_string().contains("not prepared in time"), "{over}");
    // Who has something to say of it later is told the same.
    let note = async |stage: &str| {
        let stage = stage.into();
        let noted = world.pool.note(&stage, StageEvent::Prepared).await;
        noted.expect_err("it has no machine")
    };
    let late = note("build-1").await;
    assert_eq!(late.to_string(), over.to_string());
    let other = note("build-2").await;
    assert_eq!(other.to_string(), "stage build-2 has no machine");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_ends_at_its_own_deadline_and_not_before() {
    let world = World::new(1, 2).await;
    let lasts = Duration::from_secs(3600);
    let request = AcquireRequest {
        lasts: Some(lasts),
        ..AcquireRequest::new("build-1")
    };
    world.pool.acquire(request).await.expect("a machine comes");
    world
        .pool
        .note(&"build-1".into(), StageEvent::Prepared)
        .await
        .expect("it is claimed");
    tokio::time::sleep(Duration::from_secs(3599)).await;
    world
        .pool
        .attach(&"build-1".into())
        .await
        .expect("it has a second left");
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.until("ended", |status| status.claimed == 0).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_ready_machine_that_is_too_old_for_another_stage_is_replaced() {
    let mut config = PoolConfig::new("linux", 1, 2);
    config.max_age = Duration::from_secs(48 * 3600);
    config.deadlines.stage = Duration::from_secs(12 * 3600);
    let world = World::with(config, FaultPlan::none()).await;
    world.ready(1).await;
    let old = world.status().machines[0].id.clone();
    tokio::time::sleep(Duration::from_secs(35 * 3600)).await;
    assert!(world.provider.alive().contains(&old));
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    world.until("replaced", |status| status.ready == 1).await;
    assert!(!world.provider.alive().contains(&old));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_ends_what_is_too_much() {
    let world = World::new(5, 10).await;
    world.ready(5).await;
    world.pool.resize(2, 10);
    world
        .until("smaller", |status| {
            status.ready == 2 && status.machines.len() == 2
        })
        .await;
    assert_eq!(world.provider.alive().len(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_pool_refuses_requests_and_leaves_running_stages_alone() {
    let world = World::new(2, 5).await;
    let lease = world.lease("build-1").await;
    world.pool.drain("the operator drains it");
    let refused = world.acquire("build-2").await.expect_err("it drains");
    assert!(
        matches!(&refused, AcquireError::Stopped { .. }),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("the operator drains it"),
        "{refused}"
    );
    world
        .until("drained", |status| status.machines.len() == 1)
        .await;
    assert_eq!(world.provider.alive(), [lease.machine_id().clone()]);
    world.release("build-1").await;
    world
        .until("empty", |status| status.machines.is_empty())
        .await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_that_loses_patience_names_what_is_left() {
    let world = World::new(1, 1).await;
    world.provider.terminate_late();
    let lease = world.lease("build-1").await;
    let left = world.pool.shutdown(Duration::from_secs(5)).await;
    assert_eq!(left.machines.len(), 1);
    assert_eq!(left.machines[0].0, *lease.machine_id());
}

#[tokio::test(start_paused = true)]
async fn p8_ends_that_take_their_time_cost_a_call_each_and_no_listing() {
    const ENDS: u32 = 40;
    let world = World::new(0, ENDS).await;
    world.provider.terminate_late();
    let stages: Vec<_> = (0..ENDS).map(|n| format!("build-{n}")).collect();
    for stage in &stages {
        world.lease(stage).await;
    }
    let calls = || {
        let provider = &world.provider;
        (provider.calls(Call::Terminate), provider.calls(Call::List))
    };
    let (told, listed) = calls();
    for stage in &stages {
        world.release(stage).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let (told, listed) = (calls().0 - told, calls().1 - listed);
    assert_eq!(told, u64::from(ENDS));
    // Ten seconds, and a regular pass may have fallen into them.
    assert!(listed <= 12, "{listed} listings");
    world.provider.finish_endings();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pool_stops_its_tasks() {
    let world = World::new(1, 1).await;
    world.ready(1).await;
    let mut events = world.pool.events();
    let provider = world.provider.clone();
    drop(world);
    while events.next().await.is_some() {}
    assert_eq!(
        provider.alive().len(),
        1,
        "its machines stay, for the journal's next reader"
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_a_machine_s_whole_life_in_order() {
    let world = World::new(0, 1).await;
    let mut events = world.pool.events();
    world.lease("build-1").await;
    world.release("build-1").await;
    let mut states = Vec::new();
    while states.last() != Some(&"gone") {
        match events.next().await {
            Some(Heard::Event(PoolEvent::Machine { state, .. })) => states.push(state.as_str()),
            Some(Heard::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let life = [
        "booting",
        "ready",
        "claimed",
        "draining",
        "terminating",
        "gone",
    ];
    assert_eq!(states, life);
    world.end().await;
}
