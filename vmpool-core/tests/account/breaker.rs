//! A specification whose machines never work.

use std::time::Duration;

use vmpool_core::account::AccountConfig;
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{ErrorKind, Pool, PoolConfig};

use crate::harness::{World, lease, patient, until};

/// A pool whose machines fail after a second.
fn impatient() -> PoolConfig {
    let mut config = PoolConfig::new("linux", 2, 20);
    config.deadlines.booting = Duration::from_secs(1);
    config
}

#[tokio::test(start_paused = true)]
async fn p8_machines_that_never_boot_open_the_breaker_and_everybody_is_told_why() {
    let world = World::new();
    world.link.never_answer(true);
    let pool = world.start(impatient()).await;
    let request = pool.acquire(patient("build-1"));
    let looks = async {
        tokio::time::sleep(Duration::from_mins(30)).await;
        let held_off = pool.status().held_off.expect("orders are held off");
        assert!(held_off.contains("failed in a row"), "{held_off}");
        assert!(held_off.contains("did not connect"), "{held_off}");
        let launched = world.provider.launched();
        // Two rounds of three until it opens, then ever more rarely, and in the
        // end one in five minutes.
        assert!(launched <= 24, "{launched} machines were paid for");
        let told = world.told("build-1").await;
        let why = |(_, why): &(String, String)| why.contains("failed in a row");
        assert!(told.iter().any(why), "{told:?}");
        assert!(told.len() < 10, "{told:?}");
        world.link.never_answer(false);
    };
    let (lease, ()) = tokio::join!(request, looks);
    lease.expect("the specification works again");
    until(&pool, "closed", |status| status.ready == 2).await;
    assert_eq!(pool.status().held_off, None);
    world.end([pool]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_changed_specification_is_tried_at_once() {
    let world = World::new();
    world.link.connect_after(Duration::from_secs(30));
    let pool = world.start(impatient()).await;
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert!(pool.status().held_off.is_some());
    drop(pool);
    let mut changed = impatient();
    changed.deadlines.booting = Duration::from_mins(1);
    let pool = world.start(changed).await;
    until(&pool, "ready", |status| status.ready == 2).await;
    world.end([pool]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_wrong_specification_makes_one_call_and_is_told_to_everybody() {
    let kind = ErrorKind::BadSpec;
    let world = World::new();
    let plan = FaultPlan::none().always(Call::Launch, Fault::Fail(kind));
    world.provider.set_plan(plan);
    let wrong = world.pool("wrong", 2, 20).await;
    let right = world.beside().pool("right", 1, 20).await;
    let refused = wrong.acquire(patient("build-1")).await;
    let refused = refused.expect_err("only a person can help");
    assert!(refused.to_string().contains(&kind.to_string()), "{refused}");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(world.provider.calls(Call::Launch), 1, "it loops nowhere");
    let stopped = wrong.status().stopped.expect("it says so");
    assert!(stopped.contains(&kind.to_string()), "{stopped}");
    let told = world.told("build-1").await;
    assert!(told.iter().any(|(_, why)| why.contains(&kind.to_string())));
    // Others of the account go on.
    lease(&right, "build-2").await;

    // A person mends it, and starts the pool again.
    world.provider.set_plan(FaultPlan::none());
    drop(wrong);
    let mended = world.pool("wrong", 2, 20).await;
    until(&mended, "ready", |status| status.ready == 2).await;
    right.shutdown(Duration::from_hours(1)).await;
    world.end([mended]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_permission_that_is_missing_holds_a_pool_off_until_it_is_given_back() {
    let world = World::new();
    let pool = world.pool("linux", 2, 20).await;
    until(&pool, "ready", |status| status.ready == 2).await;
    let missing = Fault::Fail(ErrorKind::Permission);
    let plan = FaultPlan::none().always(Call::Launch, missing);
    world.provider.set_plan(plan);
    let before = world.provider.calls(Call::Launch);
    // What is warm is still handed out.
    lease(&pool, "build-1").await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    let calls = world.provider.calls(Call::Launch) - before;
    assert!((5..80).contains(&calls), "rarely, but still: {calls}");
    let status = pool.status();
    assert_eq!(status.stopped, None);
    let held_off = status.held_off.expect("it says so");
    let why = ErrorKind::Permission.to_string();
    assert!(held_off.contains(&why), "{held_off}");
    world.provider.set_plan(FaultPlan::none());
    until(&pool, "ready", |status| status.ready == 2).await;
    world.end([pool]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_launches_that_fail_open_the_breaker_of_their_pool_alone() {
    let world = World::new();
    let plan = FaultPlan::none().always(Call::Launch, Fault::Fail(ErrorKind::Unknown));
    world.provider.set_plan(plan);
    let failing = world.pool("failing", 2, 20).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    let held_off = failing.status().held_off.expect("orders are held off");
    assert!(held_off.contains("failed in a row"), "{held_off}");
    let after = AccountConfig::default().breaker_after;
    let most = u64::from(after) + 10 * 6;
    let made = world.provider.calls(Call::Launch);
    assert!(made <= most, "{made} calls in ten minutes");
    let other = world.beside();
    let fine = other.pool("fine", 1, 20).await;
    until(&fine, "ready", |status| status.ready == 1).await;
    fine.shutdown(Duration::from_hours(1)).await;
    world.end([failing]).await;
}
