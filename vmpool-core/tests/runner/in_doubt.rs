//! It is not known whether the journal has a write: what follows from it is
//! made certain (P4), and no step is left open.

use vmpool_core::{Journal, StepStatus};

use crate::gate::Way;
use crate::harness::{At, POOL, World, exited, gone, stage};

/// A step whose being sent is in doubt, and whose caller was told so.
async fn step_in_doubt(world: &World, at: &At) {
    at.gate.set(Way::InDoubt);
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
