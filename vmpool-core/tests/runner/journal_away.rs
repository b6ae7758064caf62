//! The journal is away for a while (DESIGN §6): no new claims, and nothing else is lost.

use std::time::Duration;

use tokio::time::timeout;
use vmpool_core::runner::RunnerError;

use crate::gate::Way;
use crate::harness::{World, exited, gone};

#[tokio::test(start_paused = true)]
async fn p5_a_step_that_ends_while_the_journal_is_away_is_answered_when_it_is_back() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    let step = at.step("build-1", "make");
    let away = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        at.gate.set(Way::Away);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(world.text("build-1", "make"), "one\ntwo\n");
        assert_eq!(world.recorded("build-1", "make").await, None);
        let evidence = at.status().evidence;
        let told = evidence
            .iter()
            .any(|it| it.text.contains("write down the end of step make"));
        assert!(told, "{evidence:?}");
        at.gate.set(Way::Open);
    };
    let mut step = std::pin::pin!(step);
    tokio::select! {
        outcome = &mut step => panic!("answered before it was durable: {outcome:?}"),
        () = away => {}
    }
    assert_eq!(step.await.status, exited(0));
    let recorded = world.recorded("build-1", "make").await;
    assert_eq!(recorded.map(|outcome| outcome.status), Some(exited(0)));
    world.end(at.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_release_that_can_not_be_written_down_is_not_answered_as_done() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.gate.set(Way::Away);
    let refused = at.runner.destroy(&"build-1".into()).await;
    let refused = refused.expect_err("the journal is away");
    assert!(matches!(refused, RunnerError::Stage(_)), "{refused:?}");
    assert!(world.provider.alive().contains(lease.machine_id()));
    at.gate.set(Way::Open);
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    world.end(at.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_new_step_is_not_begun_unwritten_and_its_retry_is() {
    let world = World::new(1, 3);
    let at = world.runner().await;
    at.setup("build-1").await;
    at.gate.set(Way::Away);
    let refused = at.try_step("build-1", "make").await;
    let refused = refused.expect_err("the journal is away");
    assert!(matches!(refused, RunnerError::Stage(_)), "{refused:?}");
    assert_eq!(world.starts("build-1", "make").await, 0);
    at.gate.set(Way::Open);
    assert_eq!(at.step("build-1", "make").await.status, exited(0));
    world.end(at.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn p9_a_setup_of_a_stage_that_is_over_waits_for_the_journal_and_not_for_a_machine() {
    let world = World::new(1, 1);
    let at = world.runner().await;
    let lease = at.setup("build-1").await;
    at.destroy("build-1").await;
    gone(&world, &lease).await;
    at.setup("build-2").await;
    at.gate.set(Way::Away);
    let again = timeout(Duration::from_secs(10), at.try_setup("build-1"));
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        at.gate.set(Way::Open);
    };
    let (again, ()) = tokio::join!(again, back);
    let over = again.expect("it is answered").expect_err("it is over");
    assert!(over.to_string().contains("is over: released"), "{over}");
    world.end(at.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn p2_a_runner_that_can_not_renew_stops_in_time_and_goes_on_with_the_journal() {
    let world = World::new(2, 5);
    let at = world.shared("one").await;
    at.setup("build-1").await;
    at.until("ready", |status| status.ready == 2).await;
    at.gate.set(Way::Hangs);
    let step = at.step("build-1", "make");
    let mut step = std::pin::pin!(step);
    let early = timeout(Duration::from_secs(30), &mut step).await;
    assert!(early.is_err(), "a new step is not written down");
    // By now it may write nothing, however its journal fares.
    at.gate.set(Way::Away);
    let refused = at.try_setup("build-2").await.expect_err("no lease");
    assert!(refused.to_string().contains("write down"), "{refused}");
    at.gate.set(Way::Open);
    let set_up = timeout(Duration::from_secs(5), async {
        while at.try_setup("build-2").await.is_err() {}
    });
    set_up.await.expect("it renews, and goes on");
    world.end(at.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_compacted_each_hour_and_a_failure_is_told() {
    let world = World::new(0, 1);
    let at = world.runner().await;
    tokio::time::sleep(Duration::from_secs(3601)).await;
    assert_eq!(at.gate.compactions(), 1);
    assert!(at.runner.troubles().is_empty());
    at.gate.set(Way::Away);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(at.gate.compactions(), 2);
    assert!(!at.runner.troubles().is_empty());
    at.gate.set(Way::Open);
    world.end(at.clone()).await;
}
