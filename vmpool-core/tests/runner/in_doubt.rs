//! It is not known whether the journal has a write: what follows from it is
//! made certain (P4), and no step is left open.

use vmpool_core::testkit::eventually;
use vmpool_core::{Journal, StepStatus};

use crate::gate::Way;
use crate::harness::{At, POOL, World, exited, gone, stage};

/// A step whose being sent is in doubt, and whose caller was told so.
async fn step_in_doubt(world: &World, at: &At) {
    at.gate.set(Way::InDoubt { readable: false });
    let refused = at.try_step("build-1", "make").await;
    let refused = refused.expect_err("nobody knows whether it is written");
    assert!(refused.to_string().contains("write down"), "{refused}");
    let starts = world.starts("build-1", "make").await;
    assert_eq!(starts, 0, "it is not known to be written");
}

async fn nothing_is_open(world: &World) {
    let left = world
        .rows
        .pool(&POOL.into())
        .await
        .expect("it is in memory");
    let open: Vec<_> = left.stages.iter().map(|record| &record.stage.id).collect();
    assert_eq!(open, Vec::<&vmpool_core::StageId>::new());
}

#[tokio::test(start_paused = true)]
async fn p4_a_step_that_was_written_as_sent_in_doubt_ends_with_its_stage() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    step_in_doubt(&world, &at).await;
    at.gate.deliver().await;
    at.gate.set(Way::Open);
    // Who asked for the step never comes back.
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    let recorded = world.recorded("build-1", "make").await;
    let status = recorded.expect("its end is written down").status;
    assert!(matches!(status, StepStatus::Lost { .. }), "{status:?}");
    assert_eq!(world.starts("build-1", "make").await, 0);
    let gaps = world.logs.gaps(&stage("build-1"), &"make".into());
    assert!(gaps.is_empty(), "it never printed anything: {gaps:?}");
    nothing_is_open(&world).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_step_that_lands_in_the_journal_after_its_stage_has_ended_is_not_left_open() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    step_in_doubt(&world, &at).await;
    at.gate.set(Way::Open);
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    at.gate.deliver().await;
    nothing_is_open(&world).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_step_that_is_asked_for_again_after_a_doubt_runs_once() {
    for made in [true, false] {
        let world = World::new(1, 3);
        let at = world.runner().await;
        at.setup("build-1").await;
        step_in_doubt(&world, &at).await;
        if made {
            at.gate.deliver().await;
        }
        at.gate.set(Way::Open);
        assert_eq!(at.step("build-1", "make").await.status, exited(0));
        assert_eq!(world.starts("build-1", "make").await, 1);
        assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
        world.end(at).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p1_an_answer_from_before_a_stages_end_does_not_take_its_machine_from_the_pool() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let build = stage("build-1");
    at.gate.set(Way::InDoubt { readable: true });
    let old = at.gate.hold_back(lease.machine_id());
    let released = async {
        let show = || "the machine is not read back".to_owned();
        eventually(show, || at.gate.holds_back()).await;
        // Both ends are written now, and only the stage's is read.
        at.gate.deliver().await;
        let next = at.gate.hold_back(lease.machine_id());
        old.send(()).expect("somebody waits for it");
        eventually(show, || at.gate.holds_back()).await;
        at.gate.set(Way::Away);
        next.send(()).expect("somebody waits for it");
    };
    let (destroyed, ()) = tokio::join!(at.runner.destroy(&build), released);
    destroyed.expect_err("the journal is away");
    at.gate.set(Way::Open);
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_pool_that_is_taken_keeps_what_it_has_on_its_way_while_the_journal_can_not_be_read() {
    let mut world = World::new(0, 3);
    let one = world.shared("one").await;
    world.config.warm = 1;
    let two = world.shared("two").await;
    two.gate.set(Way::InDoubt { readable: true });
    two.gate.fail_second_reading();
    drop(one);
    let show = || "the pool is not read twice".to_owned();
    eventually(show, || two.gate.has_failed()).await;
    two.gate.set(Way::Open);
    two.owns().await;
    two.gate.deliver().await;
    two.until("ready", |status| status.ready == 1).await;
    let rows = world.rows.pool(&POOL.into()).await;
    let orders = rows.expect("it is in memory").orders;
    assert!(orders.is_empty(), "{orders:?}");
    world.end(two).await;
}
