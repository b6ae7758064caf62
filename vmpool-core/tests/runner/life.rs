//! The life of a build, and its calls repeated.

use std::time::Duration;

use vmpool_core::pool::{AcquireError, AttachError, Coming, Origin, Progress};
use vmpool_core::runner::{RunnerError, SetupRequest};
use vmpool_core::stage::{StageEnd, StageError, StageState};
use vmpool_core::testkit::eventually;
use vmpool_core::{ExecutorError, StageSetup, StepStatus};

use crate::harness::{POOL, World, exited, gone};

#[tokio::test(start_paused = true)]
async fn a_build_gets_a_machine_runs_its_steps_there_and_leaves_nothing() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.until("ready", |status| status.ready == 1).await;

    let lease = at.setup("build-1").await;
    assert_eq!(lease.origin(), Origin::Warm);
    let outcome = at.step("build-1", "make").await;
    assert_eq!(outcome.status, exited(0));
    assert_eq!(outcome.log_end, 8);
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    assert_eq!(at.step("build-1", "fails").await.status, exited(3));

    at.destroy("build-1").await;
    let record = world.record("build-1").await;
    assert_eq!(record.stage.state, StageState::Ended(StageEnd::Released));
    gone(&world, &lease).await;
    at.until("refilled", |status| status.ready == 1 && status.ending == 0)
        .await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_setup_that_is_made_twice_at_once_and_again_later_gets_one_machine() {
    let world = World::new(1, 5);
    let at = world.runner().await;
    let (first, second) = tokio::join!(at.setup("build-1"), at.setup("build-1"));
    let third = at.setup("build-1").await;
    assert_eq!(first.machine_id(), second.machine_id());
    assert_eq!(first.machine_id(), third.machine_id());
    at.until("one is claimed", |status| status.claimed == 1)
        .await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p5_another_setup_of_the_same_stage_is_a_conflict_that_names_the_field() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    let other = SetupRequest::new(POOL, "build-1", StageSetup::default());
    let refused = at.runner.setup(other).await.expect_err("it differs");
    assert!(
        matches!(
            &refused,
            RunnerError::Acquire(AcquireError::Conflict {
                field: "content",
                ..
            })
        ),
        "{refused:?}"
    );
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_step_that_is_made_twice_at_once_and_again_later_runs_once() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    let (first, second) = tokio::join!(at.step("build-1", "make"), at.step("build-1", "make"));
    let third = at.step("build-1", "make").await;
    assert_eq!((&first, &first), (&second, &third));
    assert_eq!(world.starts("build-1", "make").await, 1);
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    let refused = at.other_step("build-1", "make").await;
    assert!(is_conflict(&refused), "{refused:?}");
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_step_whose_caller_goes_away_is_followed_to_its_end() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    at.begin(&world, "build-1", "make").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let recorded = world.recorded("build-1", "make").await;
    assert_eq!(recorded.map(|outcome| outcome.status), Some(exited(0)));
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_who_knows_a_step_s_id_alone_waits_for_its_end_and_starts_nothing() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let attach = |step: &'static str| async {
        let (stage, step) = ("build-1".into(), step.into());
        at.runner.attach_step(&stage, &step).await
    };
    let refused = attach("make").await.expect_err("nobody asked for it");
    assert!(
        matches!(refused, RunnerError::UnknownStep { .. }),
        "{refused:?}"
    );
    at.begin(&world, "build-1", "make").await;
    let outcome = attach("make").await.expect("it ends");
    assert_eq!(outcome.status, exited(0));
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    assert_eq!(attach("make").await.expect("it is written down"), outcome);
    attach("later").await.expect_err("nobody asked for it");
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p3_who_waits_for_a_machine_can_be_told_how_that_goes() {
    let world = World::new(0, 1);
    let at = world.runner().await;
    let (pool, second) = (POOL.into(), "build-2".into());
    let progress = |stage: &str| {
        let standing = at.runner.progress(&pool, &stage.into());
        standing.expect("the pool is ours")
    };
    assert_eq!(progress("build-1"), Progress::None);
    world.agents.connect_after(Duration::from_secs(5));
    let boots = Progress::Waiting {
        position: 1,
        coming: Coming::Booting,
    };
    let first = async {
        let lease = at.setup("build-1").await;
        let show = || format!("{:?}", progress("build-2"));
        // The limit is one machine, so nothing comes for the second.
        eventually(show, || {
            let why = match progress("build-2") {
                Progress::Waiting {
                    position: 1,
                    coming: Coming::Nothing { why },
                } => why,
                _ => None,
            };
            why.is_some_and(|why| why.ends_with("as it may have: 1"))
        })
        .await;
        let machine = lease.machine_id().clone();
        assert_eq!(progress("build-1"), Progress::Claimed { machine });
        at.destroy("build-1").await;
    };
    let waits = async {
        let show = || format!("{:?}", progress("build-1"));
        eventually(show, || progress("build-1") == boots).await;
        at.setup("build-2").await
    };
    tokio::join!(first, waits);
    at.runner.destroy(&second).await.expect("it is released");
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_late_retry_of_a_step_gets_the_answer_that_the_journal_has() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let outcome = at.step("build-1", "make").await;
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    assert_eq!(at.step("build-1", "make").await, outcome);

    let refused = at.other_step("build-1", "make").await;
    assert!(is_conflict(&refused), "{refused:?}");
    let never_sent = at.try_step("build-1", "later").await;
    let refused = never_sent.expect_err("the stage is over");
    assert!(
        matches!(&refused, RunnerError::Attach(AttachError::Over { reason, .. }) if reason == "released"),
        "{refused:?}"
    );
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_destroying_what_is_unknown_or_over_is_answered_at_once() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.destroy("never-was").await;
    at.setup("build-1").await;
    tokio::join!(at.destroy("build-1"), at.destroy("build-1"));
    at.destroy("build-1").await;
    let refused = at.try_setup("build-1").await.expect_err("it is over");
    assert!(
        matches!(
            &refused,
            RunnerError::Acquire(AcquireError::StageOver { .. })
        ),
        "{refused:?}"
    );
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn a_setup_that_waits_for_a_machine_ends_when_its_stage_is_destroyed() {
    let world = World::new(0, 1);
    let at = world.runner().await;
    at.setup("build-1").await;
    let waits = at.try_setup("build-2");
    let destroy = async {
        at.until("it waits", |status| status.waiting == 1).await;
        at.destroy("build-2").await;
    };
    let (refused, ()) = tokio::join!(waits, destroy);
    let refused = refused.expect_err("it was destroyed");
    assert!(refused.to_string().contains("destroyed"), "{refused}");
    at.until("nobody waits", |status| status.waiting == 0).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p10_a_cancelled_step_ends_for_all_who_wait() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    let cancel = async {
        at.begin(&world, "build-1", "hangs").await;
        at.cancel("build-1", "hangs").await;
    };
    let (outcome, ()) = tokio::join!(at.step("build-1", "hangs"), cancel);
    assert_eq!(outcome.status, StepStatus::Cancelled);
    at.cancel("build-1", "hangs").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p13_steps_of_stages_that_are_not_there_or_not_set_up_are_refused() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let refused = at.try_step("never-was", "make").await.expect_err("unknown");
    assert!(
        matches!(refused, RunnerError::UnknownStage { .. }),
        "{refused:?}"
    );
    let elsewhere = SetupRequest::new("windows", "build-1", StageSetup::default());
    let refused = at.runner.setup(elsewhere).await.expect_err("unknown");
    assert!(
        matches!(refused, RunnerError::UnknownPool { .. }),
        "{refused:?}"
    );
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_is_told_that_something_changed() {
    let world = World::new(0, 3);
    let at = world.runner().await;
    let mut changes = at.runner.changes();
    changes.borrow_and_update();
    at.setup("build-1").await;
    assert!(changes.has_changed().expect("the runner is there"));
    world.end(at).await;
}

fn is_conflict(error: &RunnerError) -> bool {
    matches!(
        error,
        RunnerError::Stage(StageError::Executor(ExecutorError::Conflict { field, .. })) if field == "content"
    )
}
