//! What the pool does when a machine's cloud says that it ends.

use std::time::Duration;

use tokio::task::JoinSet;
use vmpool_core::explain::explain;
use vmpool_core::pool::AttachError;
use vmpool_core::stage::StageEvent;
use vmpool_core::testkit::FaultPlan;
use vmpool_core::{AcquireRequest, MachineId, Notice, NoticeKind, Pool, PoolConfig};

use crate::harness::World;

const MINUTE: Duration = Duration::from_mins(1);

fn notice(world: &World, kind: NoticeKind) -> Notice {
    let at = world.parts.clock.now();
    let ends = kind == NoticeKind::SpotInterruption;
    Notice {
        kind,
        at,
        acts_at: ends.then(|| at.after(2 * MINUTE)),
        action: "terminate".to_owned(),
    }
}

fn reclaim(world: &World, id: &MachineId) {
    let notice = notice(world, NoticeKind::SpotInterruption);
    world.link.notice(id, &notice);
}

fn recommend(world: &World, id: &MachineId) {
    world.link.notice(id, &notice(world, NoticeKind::Rebalance));
}

fn only(world: &World) -> MachineId {
    world.status().machines[0].id.clone()
}

async fn story(world: &World, of: &str) -> String {
    let now = world.parts.clock.now();
    let told = explain(&*world.parts.journal, of, now, &[world.status()]).await;
    let told = told.expect("it is known");
    let moments = told.moments.iter();
    let moments = moments.map(|m| format!("{} {}: {}", m.of, m.what, m.cause));
    format!(
        "{}\n{}",
        told.summary,
        moments.collect::<Vec<_>>().join("\n")
    )
}

#[tokio::test(start_paused = true)]
async fn p6_a_ready_machine_that_is_reclaimed_is_not_handed_out_and_is_replaced_at_once() {
    let world = World::new(1, 2).await;
    world.ready(1).await;
    let reclaimed = only(&world);
    reclaim(&world, &reclaimed);
    // Before any task of the pool has heard of it.
    let lease = world.lease("build-1").await;
    assert_ne!(*lease.machine_id(), reclaimed);
    world.ready(1).await;
    let told = story(&world, reclaimed.as_str()).await;
    assert!(
        told.contains("EC2 reclaims the spot instance (notice at"),
        "{told}"
    );
    assert_eq!(world.link.agent(&reclaimed).rules().stage(), None);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_an_idle_pool_replaces_a_reclaimed_machine_before_it_is_gone() {
    let world = World::new(2, 4).await;
    world.ready(2).await;
    let reclaimed = only(&world);
    let begun = world.parts.clock.now();
    reclaim(&world, &reclaimed);
    world
        .until("replaced", |status| {
            let mut machines = status.machines.iter();
            status.ready == 2 && !machines.any(|machine| machine.id == reclaimed)
        })
        .await;
    assert!(world.parts.clock.now().since(begun) < MINUTE);
    assert_eq!(world.provider.alive().len(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_booting_machine_that_is_reclaimed_never_becomes_ready() {
    let world = World::new(0, 2).await;
    world.link.connect_after(MINUTE);
    let mut acquired = JoinSet::new();
    acquired.spawn({
        let pool = world.pool.clone();
        async move { pool.acquire(AcquireRequest::new("build-1")).await }
    });
    world.until("booting", |status| status.booting == 1).await;
    let reclaimed = only(&world);
    reclaim(&world, &reclaimed);
    let acquired = acquired.join_next().await.expect("one is asked for");
    let lease = acquired.expect("no panic").expect("another machine");
    assert_ne!(*lease.machine_id(), reclaimed);
    let told = story(&world, reclaimed.as_str()).await;
    assert!(!told.contains(" ready:"), "{told}");
    assert!(!told.contains("breaker"), "{told}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_stage_is_told_that_its_machine_was_reclaimed_and_explain_shows_it_before() {
    let world = World::new(0, 1).await;
    let lease = world.lease("build-1").await;
    let id = lease.machine_id().clone();
    reclaim(&world, &id);
    let noted = || async {
        let told = story(&world, "build-1").await;
        told.contains("stage build-1 notice: EC2 reclaims the spot instance (notice at")
    };
    while !noted().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = story(&world, id.as_str()).await;
    assert!(told.contains("has stage build-1"), "{told}");
    assert!(
        told.lines()
            .next()
            .is_some_and(|line| line.contains("terminate in 1")),
        "{told}"
    );
    assert!(
        world.pool.attach(&"build-1".into()).await.is_ok(),
        "its stage goes on"
    );

    world.provider.kill(&id);
    world.link.kill(&id, "connection reset");
    world.until("lost", |status| status.claimed == 0).await;
    let error = world.pool.attach(&"build-1".into()).await;
    let error = error.expect_err("its machine is lost");
    assert!(matches!(error, AttachError::Over { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("EC2 reclaimed the spot instance (notice at"),
        "{error}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_later_runner_that_never_heard_the_notice_tells_it_too() {
    let mut world = World::new(0, 1).await;
    let lease = world.lease("build-1").await;
    let id = lease.machine_id().clone();
    reclaim(&world, &id);
    while !story(&world, "build-1").await.contains("notice:") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.link.kill(&id, "connection reset");
    world.provider.kill(&id);
    // Another process: its line has heard nothing.
    world.parts.link = world.link.beside();
    let world = world.restart().await;
    world.until("lost", |status| status.claimed == 0).await;
    let error = world.pool.attach(&"build-1".into()).await;
    let error = error.expect_err("its machine is lost").to_string();
    assert!(error.contains("the spot instance (notice at"), "{error}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_recommended_machine_is_replaced_when_it_is_idle_and_not_just_born() {
    let world = World::new(1, 3).await;
    world.ready(1).await;
    let young = only(&world);
    recommend(&world, &young);
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(only(&world), young, "P8: a new one would fare no better");
    tokio::time::sleep(5 * MINUTE).await;
    world
        .until("replaced", |status| {
            status.ready == 1 && status.machines.iter().all(|machine| machine.id != young)
        })
        .await;
    let told = story(&world, young.as_str()).await;
    assert!(
        told.contains("EC2 recommends to replace the spot instance"),
        "{told}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_recommended_machine_that_a_stage_has_is_left_to_it() {
    let world = World::new(0, 1).await;
    let lease = world.lease("build-1").await;
    let noted = world
        .pool
        .note(&"build-1".into(), StageEvent::Prepared)
        .await;
    noted.expect("the journal takes it");
    recommend(&world, lease.machine_id());
    tokio::time::sleep(60 * MINUTE).await;
    assert!(world.pool.attach(&"build-1".into()).await.is_ok());
    let told = story(&world, "build-1").await;
    assert!(!told.contains("notice"), "{told}");
    world.release("build-1").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_comes_again_is_noted_once() {
    let world = World::with(PoolConfig::new("linux", 0, 1), FaultPlan::none()).await;
    let lease = world.lease("build-1").await;
    let id = lease.machine_id().clone();
    reclaim(&world, &id);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.link.lose(&id, "connection reset");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let told = story(&world, "build-1").await;
    assert_eq!(told.matches("stage build-1 notice:").count(), 1, "{told}");
    world.release("build-1").await;
    world.end().await;
}
