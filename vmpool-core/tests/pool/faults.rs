//! What the provider and the agents do to a pool.

use std::time::Duration;

use tokio::time::Instant;
use vmpool_core::pool::AcquireError;
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{ErrorKind, Pool, PoolConfig};

use crate::harness::{World, patient};

async fn world(warm: u32, limit: u32, plan: FaultPlan) -> World {
    World::with(PoolConfig::new("linux", warm, limit), plan).await
}

#[tokio::test(start_paused = true)]
async fn p3_a_request_that_the_provider_refuses_ends_with_what_it_said() {
    let plan = FaultPlan::none().always(Call::Launch, Fault::Fail(ErrorKind::NoCapacity));
    let world = world(0, 5, plan).await;
    let wait = Duration::from_secs(60);
    let late = world
        .pool
        .acquire(patient("build-1", wait))
        .await
        .expect_err("no capacity");
    let AcquireError::Deadline { evidence, .. } = &late else {
        panic!("{late}")
    };
    assert!(
        evidence.iter().all(|e| e.text.contains("no capacity")),
        "{evidence:?}"
    );
    assert!(late.to_string().contains("no capacity"), "{late}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_refusals_are_tried_again_ever_more_rarely() {
    let plan = FaultPlan::none().always(Call::Launch, Fault::Fail(ErrorKind::Transient));
    let world = world(1, 5, plan).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let calls = world.provider.calls(Call::Launch);
    assert!((10..=90).contains(&calls), "{calls} launches in an hour");
    world.provider.set_plan(FaultPlan::none());
    world.ready(1).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_bad_spec_stops_the_pool_and_tells_everybody_at_once() {
    let plan = FaultPlan::none().always(Call::Launch, Fault::Fail(ErrorKind::BadSpec));
    let world = world(0, 5, plan).await;
    let refused = world
        .acquire("build-1")
        .await
        .expect_err("the spec is wrong");
    assert!(matches!(refused, AcquireError::Stopped { .. }), "{refused}");
    let calls = world.provider.calls(Call::Launch);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        world.provider.calls(Call::Launch),
        calls,
        "it loops nowhere"
    );
    world
        .acquire("build-2")
        .await
        .expect_err("it stays stopped");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_lost_answer_is_replayed_and_launches_nothing_twice() {
    let plan = FaultPlan::none().at(Call::Launch, 1, Fault::LoseAnswer);
    let world = world(3, 5, plan).await;
    world.ready(3).await;
    assert_eq!(world.provider.launched(), 3);
    assert_eq!(world.provider.calls(Call::Launch), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_machines_whose_launch_never_answers_are_found_by_listing() {
    let plan = FaultPlan::none().always(Call::Launch, Fault::LoseAnswer);
    let world = world(2, 2, plan).await;
    tokio::time::sleep(Duration::from_secs(180)).await;
    world.ready(2).await;
    assert_eq!(world.provider.launched(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_slots_that_no_listing_shows_are_proven_absent_and_ordered_again() {
    // The launch hangs before it does anything.
    let plan = FaultPlan::none().at(Call::Launch, 1, Fault::Delay(Duration::from_secs(100_000)));
    let world = world(1, 1, plan).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        world.status().ordered,
        1,
        "the slot stays taken while nothing is known (P7)"
    );
    tokio::time::sleep(Duration::from_secs(180)).await;
    world.ready(1).await;
    assert!(world.provider.calls(Call::List) >= 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_partial_launch_keeps_what_came_and_orders_the_rest() {
    let plan = FaultPlan::none().at(Call::Launch, 1, Fault::Partial(1));
    let world = world(3, 3, plan).await;
    world.ready(1).await;
    // A place without capacity is left alone for three minutes while nobody waits.
    tokio::time::sleep(Duration::from_mins(3)).await;
    world.ready(3).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_failing_terminations_are_repeated_until_the_provider_says_the_word() {
    let plan = FaultPlan::none()
        .at(Call::Terminate, 1, Fault::Fail(ErrorKind::Transient))
        .at(Call::Terminate, 2, Fault::LoseAnswer)
        .at(
            Call::Terminate,
            3,
            Fault::Fail(ErrorKind::Throttled { retry_after: None }),
        );
    let world = world(0, 1, plan).await;
    world.lease("build-1").await;
    world.release("build-1").await;
    world
        .until("gone", |status| status.machines.is_empty())
        .await;
    assert_eq!(world.provider.alive(), []);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p7_a_machine_on_its_way_out_keeps_its_slot() {
    let world = world(0, 1, FaultPlan::none()).await;
    world.provider.terminate_late();
    world.lease("build-1").await;
    world.release("build-1").await;
    world
        .pool
        .acquire(patient("build-2", Duration::from_secs(60)))
        .await
        .expect_err("full");
    assert_eq!(world.provider.most_alive(), 1);
    world.provider.finish_endings();
    world.lease("build-3").await;
    world.release("build-3").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.provider.finish_endings();
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_sick_machine_is_replaced_and_nobody_notices() {
    let world = world(2, 4, FaultPlan::none()).await;
    world.ready(2).await;
    let sick = world.status().machines[0].id.clone();
    world.link.lose(&sick, "its agent was killed");
    let lease = world.lease("build-1").await;
    assert_ne!(*lease.machine_id(), sick);
    world.until("replaced", |status| status.ready == 2).await;
    assert!(!world.provider.alive().contains(&sick));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_machine_whose_agent_never_connects_is_replaced_with_the_reason() {
    let mut config = PoolConfig::new("linux", 1, 3);
    config.deadlines.booting = Duration::from_secs(300);
    let world = World::with(config, FaultPlan::none()).await;
    world.link.never_answer(true);
    tokio::time::sleep(Duration::from_secs(400)).await;
    world.link.never_answer(false);
    world.ready(1).await;
    let evidence = world.status().evidence;
    assert!(
        evidence.iter().any(|e| e.text.contains("did not connect")),
        "{evidence:?}"
    );
    assert!(
        evidence
            .iter()
            .any(|e| e.text.contains("the cloud shows it")),
        "{evidence:?}"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_the_cloud_takes_away_ends_its_stage_with_the_reason() {
    let world = world(1, 2, FaultPlan::none()).await;
    let lease = world.lease("build-1").await;
    world.provider.kill(lease.machine_id());
    world.link.lose(lease.machine_id(), "connection reset");
    world.until("lost", |status| status.claimed == 0).await;
    let over = world
        .pool
        .attach(&"build-1".into())
        .await
        .expect_err("its machine is gone");
    assert!(over.to_string().contains("its machine was lost"), "{over}");
    world.ready(1).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_claimed_machine_whose_connection_breaks_is_reconnected() {
    let world = world(1, 1, FaultPlan::none()).await;
    let lease = world.lease("build-1").await;
    world.link.lose(lease.machine_id(), "connection reset");
    world
        .until("reconnected", |_| {
            world.link.is_answering(lease.machine_id())
        })
        .await;
    assert_eq!(world.status().claimed, 1);
    world
        .pool
        .attach(&"build-1".into())
        .await
        .expect("the stage goes on");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_bug_that_ends_a_vital_task_is_told_to_those_who_ask() {
    let plan = FaultPlan::none().at(Call::Terminate, 1, Fault::Panic);
    let world = world(0, 1, plan).await;
    world.lease("build-1").await;
    world.release("build-1").await;
    let refused = world
        .acquire("build-2")
        .await
        .expect_err("its slot is never freed");
    assert!(
        refused.to_string().contains("a bug ended its retirer"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn p3_a_stage_learns_soon_that_its_machine_is_gone_though_the_provider_says_so_late() {
    let world = world(0, 1, FaultPlan::none()).await;
    let lease = world.lease("build-1").await;
    world.link.kill(lease.machine_id(), "its agent was killed");
    // The first look, at the connection's end, shows it alive.
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.provider.kill(lease.machine_id());
    let died = Instant::now();
    world.until("told", |status| status.claimed == 0).await;
    let took = died.elapsed();
    assert!(took <= Duration::from_secs(2), "{took:?}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_machine_that_does_not_answer_is_looked_for_ever_more_rarely() {
    let world = world(0, 1, FaultPlan::none()).await;
    let lease = world.lease("build-1").await;
    let before = world.provider.calls(Call::List);
    world.link.kill(lease.machine_id(), "its agent was killed");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let looks = world.provider.calls(Call::List) - before;
    assert!((5..=12).contains(&looks), "{looks} listings in a minute");
    world.end().await;
}
