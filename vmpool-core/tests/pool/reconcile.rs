//! The journal is held against the provider: what one of them has and the other
//! does not is found, and nothing is left over (P1).

use std::sync::Arc;
use std::time::Duration;

use vmpool_core::journal::{MemoryJournal, RowKey};
use vmpool_core::machine::MachineState;
use vmpool_core::stage::StageEvent;
use vmpool_core::testkit::{Call, Collected, Fault, FaultPlan, SimExecutor, SimStep};
use vmpool_core::{
    Attempt, ErrorKind, Lease, Listed, ListedState, MachineId, OrderId, Pool, PoolConfig,
    StageSetup, Step, StepExecutor, StepStatus, Tags, Timestamp,
};

use crate::harness::World;

/// A machine of this world's pool that nobody ordered.
fn stranger(world: &World, id: &str, expires_at: Timestamp) -> Listed {
    Listed {
        id: MachineId::new(id),
        tags: Tags {
            owner: world.config.owner.clone(),
            deployment: world.config.deployment.clone(),
            pool: world.config.name.clone(),
            order: OrderId::new("order-of-old"),
            attempt: Attempt(1),
            expires_at,
        },
        state: ListedState::Alive,
        address: Some(([127, 0, 0, 99], 9079).into()),
    }
}

fn far(world: &World) -> Timestamp {
    world.parts.clock.now().after(Duration::from_hours(72))
}

/// The world after its journal was lost.
async fn with_a_blank_journal(mut world: World) -> World {
    world.parts.journal = Arc::new(MemoryJournal::new());
    world.restart().await
}

async fn prepare(world: &World, lease: &Lease) -> Arc<SimExecutor> {
    let executor = SimExecutor::new(&world.link);
    let prepared = executor.prepare(lease, &StageSetup::default()).await;
    prepared.expect("the agent prepares it");
    let noted = world.pool.note(lease.stage(), StageEvent::Prepared).await;
    noted.expect("it is possible");
    executor
}

#[tokio::test(start_paused = true)]
async fn p1_p7_a_lost_journal_adopts_what_runs_and_ends_nothing() {
    let world = World::new(2, 4).await;
    let lease = world.lease("build-1").await;
    prepare(&world, &lease).await;
    world.ready(2).await;
    let before = world.provider.alive();

    let world = with_a_blank_journal(world).await;
    world
        .until("adopted", |status| status.ready == 2 && status.claimed == 1)
        .await;
    assert_eq!(world.provider.alive(), before);
    assert_eq!(world.provider.launched(), before.len(), "none was ordered");
    assert_eq!(world.status().unaccounted.len(), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p7_a_lost_journal_orders_nothing_before_a_whole_listing_was_had() {
    let world = World::new(2, 2).await;
    world.ready(2).await;
    let before = world.provider.alive();
    let fails = Fault::Fail(ErrorKind::Transient);
    world
        .provider
        .set_plan(FaultPlan::none().always(Call::List, fails));
    let world = with_a_blank_journal(world).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.provider.alive(), before, "nobody knows what there is");
    world.provider.set_plan(FaultPlan::none());
    world.ready(2).await;
    assert_eq!(world.provider.alive(), before);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_build_whose_journal_was_lost_goes_on_to_its_result() {
    let world = World::new(0, 1).await;
    let lease = world.lease("build-1").await;
    let executor = prepare(&world, &lease).await;
    world
        .link
        .script(|_| SimStep::exits(7).takes(Duration::from_secs(600)));
    let step = Step::shell("step-1", "make");
    let started = {
        let (executor, lease, step) = (executor.clone(), lease.clone(), step.clone());
        async move {
            let mut log = Collected::default();
            executor.run(&lease, &step, &mut log).await
        }
    };
    // The runner dies while the step runs.
    let died = tokio::time::timeout(Duration::from_secs(5), started).await;
    assert!(died.is_err(), "it runs");

    let world = with_a_blank_journal(world).await;
    world.until("adopted", |status| status.claimed == 1).await;
    let again = world.pool.attach(&"build-1".into()).await;
    let again = again.expect("its machine has it");
    assert_eq!(again.machine_id(), lease.machine_id());
    let record = world.parts.journal.stage(&"build-1".into()).await;
    let record = record.expect("readable").expect("it has its row");
    assert_eq!(record.stage.hash, None, "any retry may have been the first");
    assert_eq!(record.steps.len(), 1);
    let mut log = Collected::default();
    let outcome = executor.run(&again, &step, &mut log).await;
    let outcome = outcome.expect("it is the same step");
    assert_eq!(outcome.status, StepStatus::Exited { code: 7 });
    world.release("build-1").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_p7_adopted_machines_take_slots_and_idle_ones_beyond_the_limit_drain() {
    let mut world = World::new(4, 4).await;
    world.ready(4).await;
    world.config.warm = 4;
    world.config.limit = 2;
    let world = with_a_blank_journal(world).await;
    world
        .until("surplus is gone", |s| s.ready == 2 && s.machines.len() == 2)
        .await;
    assert_eq!(world.provider.alive().len(), 2);
    world.pool.shutdown(Duration::from_secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_stranger_whose_agent_never_answers_is_drained_at_the_booting_deadline() {
    let world = World::new(0, 2).await;
    let id = MachineId::new("stranger");
    world.link.kill(&id, "it has no agent");
    let expires_at = far(&world);
    world
        .provider
        .show(stranger(&world, "stranger", expires_at));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(world.status().booting, 1, "it is adopted");
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(world.provider.alive(), []);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_stranger_that_has_expired_is_ended_and_in_the_ledger() {
    let world = World::new(0, 2).await;
    world
        .provider
        .show(stranger(&world, "stranger", Timestamp(1)));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(world.provider.alive(), []);
    let ledger = world.parts.journal.ledger(None, 10).await;
    let ledger = ledger.expect("readable");
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0].state, MachineState::Gone);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_machines_of_others_are_never_touched() {
    let world = World::new(0, 2).await;
    let theirs = |id: &str, change: fn(&mut Tags)| {
        let mut listed = stranger(&world, id, Timestamp(1));
        change(&mut listed.tags);
        world.provider.show(listed);
    };
    theirs("deployment", |tags| tags.deployment = "other".into());
    theirs("pool", |tags| tags.pool = "windows".into());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.provider.alive().len(), 2);
    assert_eq!(world.status().unaccounted.len(), 0);
    assert!(world.status().machines.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p1_a_machine_that_comes_back_after_its_end_is_ended_again() {
    let world = World::new(0, 1).await;
    let lease = world.lease("build-1").await;
    let id = lease.machine_id().clone();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let shown = world.provider.forget(&id).expect("it is there");
    world.link.kill(&id, "its host died");
    world
        .until("lost", |status| status.machines.is_empty())
        .await;
    let over = world.pool.attach(&"build-1".into()).await;
    let over = over.expect_err("its machine is gone").to_string();
    assert!(over.contains("its machine was lost"), "{over}");

    world.provider.show(shown);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(world.provider.alive(), []);
    let history = world.parts.journal.history(&RowKey::Machine(id), 20).await;
    let history = history.expect("readable");
    assert!(
        history.iter().any(|event| event.cause.contains("it was")),
        "{history:?}"
    );
    assert_eq!(history.last().map(|event| &*event.what), Some("gone"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_machine_that_two_listings_do_not_show_is_lost_and_its_stage_told() {
    let world = World::new(0, 2).await;
    let lease = world.lease("build-1").await;
    prepare(&world, &lease).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.provider.forget(lease.machine_id());
    // Its agent is there as long as it answers, whatever a listing says.
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(
        (world.status().claimed, world.status().unaccounted.len()),
        (1, 1)
    );
    world.link.kill(lease.machine_id(), "its host died");
    world.until("lost", |status| status.claimed == 0).await;
    let over = world.pool.attach(&"build-1".into()).await;
    let over = over.expect_err("its machine is gone").to_string();
    assert!(over.contains("two listings do not show it"), "{over}");
    assert_eq!(world.status().unaccounted.len(), 0);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_one_pass_ends_no_more_than_it_may_and_raises_the_alarm() {
    let mut config = PoolConfig::new("linux", 0, 20);
    config.reconcile.most_terminations = 3;
    let world = World::with(config, FaultPlan::none()).await;
    for n in 0..5 {
        let id = format!("stranger-{n}");
        world.provider.show(stranger(&world, &id, Timestamp(1)));
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.provider.alive().len(), 2);
    let status = world.status();
    assert_eq!(status.unaccounted.len(), 2);
    assert!(
        status
            .evidence
            .iter()
            .any(|e| e.text.contains("left alone")),
        "{:?}",
        status.evidence
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.provider.alive(), []);
    assert_eq!(world.status().unaccounted.len(), 0);
    world.end().await;
}
