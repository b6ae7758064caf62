//! A pool that goes on where another stopped: it works on the journal alone.

use std::time::Duration;

use vmpool_core::pool::Origin;
use vmpool_core::stage::StageEvent;
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{Pool, PoolConfig, StepOutcome, StepStatus, WarmPool};

use crate::faulty_journal::{Failure, FaultyJournal};
use crate::harness::{World, patient};

#[tokio::test(start_paused = true)]
async fn p4_a_new_pool_on_the_same_journal_has_the_same_machines_and_stages() {
    let world = World::new(2, 4).await;
    let lease = world.lease("build-1").await;
    world.ready(2).await;
    let before = world.provider.alive();
    let old_term = world.pool.term();

    let world = world.restart().await;
    assert!(world.pool.term() > old_term);
    let again = world
        .pool
        .attach(&"build-1".into())
        .await
        .expect("the stage goes on");
    assert_eq!(again.machine_id(), lease.machine_id());
    let second = world.lease("build-2").await;
    assert!(
        before.contains(second.machine_id()),
        "what was warm stays warm"
    );
    assert!(matches!(second.origin(), Origin::Warm | Origin::Waited(_)));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_p5_a_prepared_stage_goes_on_with_its_steps_and_their_results() {
    let world = World::new(0, 1).await;
    let stage = "build-1".into();
    world.lease("build-1").await;
    let hash = world.pool.keyed_hash(b"make");
    let ended = |outcome: &StepOutcome| StageEvent::StepEnded {
        step: "step-1".into(),
        outcome: outcome.clone(),
    };
    let outcome = StepOutcome {
        status: StepStatus::Exited { code: 0 },
        log_end: 17,
        started_at: world.parts.clock.now(),
        ended_at: world.parts.clock.now(),
    };
    let events = [
        StageEvent::Prepared,
        StageEvent::StepSent {
            step: "step-1".into(),
            hash,
        },
        ended(&outcome),
        StageEvent::StepSent {
            step: "step-2".into(),
            hash,
        },
    ];
    for event in &events {
        let noted = world.pool.note(&stage, event.clone()).await;
        noted.expect("it is possible");
    }

    let world = world.restart().await;
    // Each may be told again, by whoever does not know how far it was (P9).
    for event in &events {
        let noted = world.pool.note(&stage, event.clone()).await;
        noted.expect("it is known");
    }
    let other = StageEvent::StepSent {
        step: "step-2".into(),
        hash: world.pool.keyed_hash(b"make clean"),
    };
    let conflict = world.pool.note(&stage, other).await;
    conflict.expect_err("it was another step before");
    // No prepare deadline strikes a stage that is prepared.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.status().claimed, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_machine_that_was_booting_becomes_ready_under_the_next_pool() {
    let world = World::new(2, 2).await;
    world.link.never_answer(true);
    world.until("booting", |status| status.booting == 2).await;
    let world = world.restart().await;
    assert_eq!(world.status().booting, 2);
    world.link.never_answer(false);
    world.ready(2).await;
    assert_eq!(world.provider.launched(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_an_order_without_an_answer_is_replayed_by_the_next_pool() {
    let plan = FaultPlan::none().at(Call::Launch, 1, Fault::Die);
    let world = World::with(PoolConfig::new("linux", 2, 2), plan).await;
    world.until("ordered", |status| status.ordered == 2).await;
    world
        .until("called", |_| world.provider.launched() == 2)
        .await;
    world.provider.revive();
    let world = world.restart().await;
    world.ready(2).await;
    assert_eq!(
        world.provider.launched(),
        2,
        "the same order, the same machines"
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_p7_a_machine_that_was_terminating_is_ended_by_the_next_pool_and_keeps_its_slot() {
    let world = World::new(0, 1).await;
    world.provider.terminate_late();
    world.lease("build-1").await;
    world.release("build-1").await;
    world
        .until("called", |_| world.provider.calls(Call::Terminate) > 0)
        .await;
    let world = world.restart().await;
    assert_eq!(world.status().ending, 1);
    world
        .pool
        .acquire(patient("build-2", Duration::from_secs(30)))
        .await
        .expect_err("its slot is taken");
    world.provider.finish_endings();
    world.lease("build-3").await;
    assert_eq!(world.provider.most_alive(), 1);
    world.release("build-3").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.provider.finish_endings();
    world.end().await;
}

/// The claim's answer is lost, and the runner dies before it has read it back.
#[tokio::test(start_paused = true)]
async fn p2_p9_a_claim_in_doubt_when_the_pool_died_is_what_the_journal_says() {
    for (how, kept) in [
        (Failure::WrittenInDoubt, true),
        (Failure::UnwrittenInDoubt, false),
    ] {
        let journal = FaultyJournal::slow(Duration::from_millis(20));
        let config = PoolConfig::new("linux", 1, 2);
        let world = World::on(config, FaultPlan::none(), journal.clone()).await;
        world.ready(1).await;
        let machine = world.status().machines[0].id.clone();
        journal.fail_next("claimed", how);
        world.acquire("build-1").await.expect_err("in doubt");
        let world = world.restart().await;
        let attached = world.pool.attach(&"build-1".into()).await;
        assert_eq!(attached.is_ok(), kept, "{how:?}: {attached:?}");
        let lease = world.lease("build-1").await;
        assert_eq!(*lease.machine_id(), machine, "{how:?}");
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p2_an_older_pool_can_write_nothing_once_a_newer_one_rules() {
    let world = World::new(1, 2).await;
    world.ready(1).await;
    let newer = WarmPool::start(world.config.clone(), world.parts.clone())
        .await
        .expect("starts");
    let refused = world.acquire("build-1").await.expect_err("it is fenced");
    assert!(
        refused.to_string().contains("is ruled under term"),
        "{refused}"
    );
    let left = newer.shutdown(Duration::from_secs(600)).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.provider.alive(), []);
}

#[tokio::test(start_paused = true)]
async fn p9_the_same_request_to_the_next_pool_gets_the_same_machine_and_releasing_it_twice_is_fine()
{
    let world = World::new(1, 5).await;
    let lease = world.lease("build-1").await;
    let world = world.restart().await;
    let (one, other) = tokio::join!(world.lease("build-1"), world.lease("build-1"));
    assert_eq!(one.machine_id(), lease.machine_id());
    assert_eq!(other.machine_id(), lease.machine_id());
    world.release("build-1").await;
    let world = world.restart().await;
    let begun = tokio::time::Instant::now();
    world.release("build-1").await;
    world.release("never-heard-of").await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "it is answered at once");
    let over = world.acquire("build-1").await.expect_err("it is over");
    assert_eq!(over.to_string(), "stage build-1 is over: released");
    world.end().await;
}
