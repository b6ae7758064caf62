//! A runner that dies at each point of a build, and the next one on the same
//! journal (P4): the same machine, the step's result once, the exact log.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use vmpool_core::StepStatus;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::runner::Sharing;
use vmpool_core::testkit::eventually;

use crate::gate::Way;
use crate::harness::{At, World, exited, gone, stage};
use crate::stuck::Trap;

const WHOLE_LOG: &str = "one\ntwo\n";
/// Nobody is there for so long.
const DOWN: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn p4_a_runner_that_dies_after_a_setup_leaves_the_stage_to_the_next() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    drop(at);
    let at = world.runner().await;
    assert_eq!(at.setup("build-1").await.machine_id(), lease.machine_id());
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    assert_eq!(world.text("build-1", "make"), WHOLE_LOG);
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_runner_that_dies_while_a_machine_is_prepared_leaves_that_to_the_next() {
    let world = World::new(1, 3);
    let trap = Some(Trap::Prepare);
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    let setup = timeout(Duration::from_secs(10), at.try_setup("build-1")).await;
    assert!(setup.is_err(), "it is stuck");
    let machine = world.record("build-1").await.stage.machine.clone();
    drop(at);
    let at = world.runner().await;
    assert_eq!(at.setup("build-1").await.machine_id(), &machine);
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_machine_that_nobody_could_prepare_in_time_is_prepared_by_the_next() {
    let world = World::new(1, 3);
    let trap = Some(Trap::Prepare);
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    let setup = timeout(Duration::from_secs(10), at.try_setup("build-1")).await;
    assert!(setup.is_err(), "it is stuck");
    let machine = world.record("build-1").await.stage.machine.clone();
    drop(at);
    tokio::time::sleep(world.config.deadlines.prepare * 2).await;
    let at = world.runner().await;
    assert_eq!(at.setup("build-1").await.machine_id(), &machine);
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_runner_that_dies_while_a_step_runs_leaves_its_result_and_log_to_the_next() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    at.begin(&world, "build-1", "make").await;
    drop(at);
    let at = world.runner().await;
    // Nobody asks: it is collected all the same.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let recorded = world.recorded("build-1", "make").await;
    assert_eq!(recorded.map(|outcome| outcome.status), Some(exited(0)));
    assert_one_run(&world, &at).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_runner_that_dies_while_a_step_ends_unseen_leaves_it_to_the_next() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    at.begin(&world, "build-1", "make").await;
    drop(at);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let at = world.runner().await;
    assert_one_run(&world, &at).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_runner_that_dies_between_a_steps_log_and_its_result_leaves_it_to_the_next() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    at.begin(&world, "build-1", "make").await;
    at.gate.set(Way::Away);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.text("build-1", "make"), WHOLE_LOG);
    assert_eq!(world.recorded("build-1", "make").await, None);
    drop(at);
    let at = world.runner().await;
    assert_one_run(&world, &at).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_runner_that_dies_after_a_destroy_leaves_the_machines_end_to_the_next() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.begin(&world, "build-1", "hangs").await;
    at.destroy("build-1").await;
    drop(at);
    assert!(world.provider.alive().contains(lease.machine_id()));
    let at = world.runner().await;
    gone(&world, &lease).await;
    let recorded = world.recorded("build-1", "hangs").await;
    let status = recorded.map(|outcome| outcome.status);
    assert_eq!(status, Some(StepStatus::Cancelled));
    assert_eq!(world.text("build-1", "hangs"), "begun\n");
    assert_eq!(
        at.step("build-1", "hangs").await.status,
        StepStatus::Cancelled
    );
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_step_that_never_reached_its_agent_is_sent_when_it_is_asked_for_again() {
    let world = World::new(1, 3);
    let trap = Some(Trap::Run);
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    at.setup("build-1").await;
    let step = timeout(Duration::from_secs(10), at.try_step("build-1", "make")).await;
    assert!(step.is_err(), "it is stuck");
    assert_eq!(world.recorded("build-1", "make").await, None);
    drop(at);
    let at = world.runner().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.recorded("build-1", "make").await, None);
    assert_one_run(&world, &at).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p10_a_step_that_never_reached_its_agent_is_lost_with_its_stage() {
    let world = World::new(1, 3);
    let trap = Some(Trap::Run);
    let at = world.runner_with("alone", Sharing::Alone, trap).await;
    at.setup("build-1").await;
    let step = timeout(Duration::from_secs(10), at.try_step("build-1", "make")).await;
    assert!(step.is_err(), "it is stuck");
    drop(at);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    let outcome = at.step("build-1", "make").await;
    assert!(
        matches!(outcome.status, StepStatus::Lost { .. }),
        "{outcome:?}"
    );
    assert_eq!(world.recorded("build-1", "make").await, Some(outcome));
    world.end(at).await;
}

/// A runner that dies once its stage has ended with its lost machine, before it
/// could write down that its step has.
async fn dies_before_the_end_of_a_lost_step(world: &World) {
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.begin(world, "build-1", "hangs").await;
    // The log can't be told of its gap, which holds the step's end up.
    world.logs.break_down(Some("the disk is full"));
    world.provider.kill(lease.machine_id());
    world
        .agents
        .kill(lease.machine_id(), "the host lost its power");
    at.until("it is lost", |status| status.claimed == 0).await;
    assert_eq!(world.recorded("build-1", "hangs").await, None);
    drop(at);
    world.logs.break_down(None);
    tokio::time::sleep(DOWN).await;
}

#[tokio::test(start_paused = true)]
async fn p10_a_step_whose_machine_was_lost_unseen_is_answered_as_lost_by_the_next() {
    let world = World::new(1, 3);
    dies_before_the_end_of_a_lost_step(&world).await;
    let at = world.runner().await;
    let outcome = at.step("build-1", "hangs").await;
    assert!(
        matches!(outcome.status, StepStatus::Lost { .. }),
        "{outcome:?}"
    );
    assert!(outcome.ended_at.since(outcome.started_at) >= DOWN);
    assert_eq!(world.recorded("build-1", "hangs").await, Some(outcome));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p10_a_step_whose_machine_was_lost_unseen_ends_though_nobody_asks_for_it_again() {
    let world = World::new(1, 3);
    dies_before_the_end_of_a_lost_step(&world).await;
    let at = world.runner().await;
    let ended = async {
        while world.recorded("build-1", "hangs").await.is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let patience = Duration::from_secs(60);
    timeout(patience, ended).await.expect("its end is known");
    assert_eq!(world.logs.gaps(&stage("build-1"), &"hangs".into()).len(), 1);
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_stage_that_was_over_when_an_old_answer_tells_of_it_stays_over() {
    let mut world = World::new(0, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.begin(&world, "build-1", "make").await;
    drop(at);
    // The journal is lost, and no agent tells anything before there is a trap.
    world.rows = Arc::new(MemoryJournal::new());
    world.agents.never_answer(true);
    let at = world.runner().await;
    let answer = at.gate.hold_back(lease.machine_id());
    world.agents.never_answer(false);
    let show = || "nobody reads the stage in".to_owned();
    eventually(show, || at.gate.holds_back()).await;
    assert_one_run(&world, &at).await;
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    answer.send(()).expect("somebody waits for it");
    // Meanwhile it is heard.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = timeout(Duration::from_mins(5), assert_one_run(&world, &at)).await;
    again.expect("the result is known");
    let gaps = world.logs.gaps(&stage("build-1"), &"make".into());
    assert!(gaps.is_empty(), "its log is whole: {gaps:?}");
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_stage_that_is_known_is_answered_for_while_other_machines_are_not_heard_yet() {
    let mut world = World::new(2, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.until("both are there", |status| status.ready == 2).await;
    drop(at);
    // The journal is lost, and a machine that nobody has is dead: only its
    // booting deadline tells that.
    world.rows = Arc::new(MemoryJournal::new());
    let alive = world.provider.alive();
    let dead = alive.iter().find(|id| *id != lease.machine_id());
    let dead = dead.expect("one is ready");
    world.agents.kill(dead, "its kernel panicked");
    let at = world.runner().await;
    at.until("its stage is known again", |status| status.claimed == 1)
        .await;
    let at_once = Duration::from_secs(1);
    let again = timeout(at_once, at.setup("build-1")).await;
    let again = again.expect("it is answered at once");
    assert_eq!(again.machine_id(), lease.machine_id());
    let other = timeout(at_once, at.setup("build-2")).await;
    assert!(
        other.is_err(),
        "it may have a machine that is not heard yet"
    );
    let destroyed = timeout(at_once, at.destroy("build-1")).await;
    destroyed.expect("it is answered at once");
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_runner_leaves_no_task_behind() {
    let world = World::new(1, 3);
    let at = world.shared("one").await;
    at.setup("build-1").await;
    at.begin(&world, "build-1", "hangs").await;
    let held = std::sync::Arc::downgrade(&at.gate);
    drop(at);
    let show = || format!("{} still hold the journal", held.strong_count());
    eventually(show, || held.strong_count() == 0).await;
}

/// The step's result is there for who asks again, its log is exact, and it ran once.
async fn assert_one_run(world: &World, at: &At) {
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    assert_eq!(world.text("build-1", "make"), WHOLE_LOG);
    assert_eq!(world.starts("build-1", "make").await, 1);
}
