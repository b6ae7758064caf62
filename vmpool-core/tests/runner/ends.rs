//! How stages end whose steps still run (P10), and what is saved of them (P4).

use std::time::Duration;

use vmpool_core::StepStatus;
use vmpool_core::testkit::eventually;

use crate::harness::{World, exited, gone, stage};

#[tokio::test(start_paused = true)]
async fn p10_a_destroyed_stages_steps_are_cancelled_and_their_logs_and_ends_are_kept() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let destroy = async {
        at.begin(&world, "build-1", "hangs").await;
        at.begin(&world, "build-1", "make").await;
        at.destroy("build-1").await;
    };
    let (waited, ()) = tokio::join!(at.step("build-1", "hangs"), destroy);
    assert_eq!(waited.status, StepStatus::Cancelled);
    gone(&world, &lease).await;
    for (step, log) in [("hangs", "begun\n"), ("make", "one\n")] {
        let recorded = world.recorded("build-1", step).await;
        let status = recorded.map(|outcome| outcome.status);
        assert_eq!(status, Some(StepStatus::Cancelled), "{step}");
        assert_eq!(world.text("build-1", step), log);
        assert!(world.logs.gaps(&stage("build-1"), &step.into()).is_empty());
    }
    assert_eq!(at.runner.destroy(&stage("build-1")).await.ok(), Some(()));
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p10_a_lost_machines_steps_end_lost_with_the_reason_and_a_gap_in_the_log() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let lose = async {
        at.begin(&world, "build-1", "hangs").await;
        world.provider.kill(lease.machine_id());
        world.agents.kill(lease.machine_id(), "spot took it");
    };
    let (outcome, ()) = tokio::join!(at.step("build-1", "hangs"), lose);
    let StepStatus::Lost { reason } = &outcome.status else {
        panic!("{outcome:?}");
    };
    assert!(!reason.is_empty());
    assert_eq!(outcome.log_end, 6);
    assert_eq!(
        world.recorded("build-1", "hangs").await.as_ref(),
        Some(&outcome)
    );
    assert_eq!(world.logs.gaps(&stage("build-1"), &"hangs".into()).len(), 1);
    assert_eq!(at.step("build-1", "hangs").await, outcome);
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_connection_that_is_lost_and_comes_back_loses_nothing() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    let lose = async {
        at.begin(&world, "build-1", "make").await;
        world.agents.lose(lease.machine_id(), "the network blinked");
        tokio::time::sleep(Duration::from_secs(5)).await;
        world.agents.restart_agent(lease.machine_id());
    };
    let (outcome, ()) = tokio::join!(at.step("build-1", "make"), lose);
    assert_eq!(outcome.status, exited(0));
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    assert_eq!(world.starts("build-1", "make").await, 1);
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_log_store_that_is_broken_for_a_while_gets_every_byte_once() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    let broken = async {
        at.begin(&world, "build-1", "make").await;
        world.logs.break_down(Some("the disk is full"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.recorded("build-1", "make").await, None);
        let evidence = at.status().evidence;
        let told = evidence
            .iter()
            .any(|it| it.text.contains("the disk is full"));
        assert!(told, "{evidence:?}");
        world.logs.break_down(None);
    };
    let (outcome, ()) = tokio::join!(at.step("build-1", "make"), broken);
    assert_eq!(outcome.status, exited(0));
    assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p10_an_agent_that_hangs_holds_no_stage_up_and_its_steps_are_lost_with_a_gap() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.begin(&world, "build-1", "hangs").await;
    world.agents.never_answer(true);
    at.destroy("build-1").await;
    let patience = Duration::from_secs(180);
    let show = || "its end is not written down".to_owned();
    let lost = tokio::time::timeout(patience, async {
        while world.recorded("build-1", "hangs").await.is_none() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    lost.await.unwrap_or_else(|_| panic!("{}", show()));
    let recorded = world
        .recorded("build-1", "hangs")
        .await
        .map(|outcome| outcome.status);
    assert!(
        matches!(recorded, Some(StepStatus::Lost { .. })),
        "{recorded:?}"
    );
    assert_eq!(world.logs.gaps(&stage("build-1"), &"hangs".into()).len(), 1);
    world.agents.never_answer(false);
    gone(&world, &lease).await;
    eventually(|| format!("{:?}", at.status()), || at.status().ending == 0).await;
    world.end(at).await;
}
