//! Pools that take no new stages because a person said so.

use std::time::Duration;

use tokio::time::timeout;
use vmpool_core::pool::AcquireError;
use vmpool_core::runner::RunnerError;

use crate::harness::{At, POOL, World, exited};

impl At {
    async fn cordon(&self, drains: bool, why: &str) {
        let said = self.runner.cordon(&POOL.into(), drains, "ann", why).await;
        said.expect("the journal takes it");
    }

    async fn fill(&self) {
        let said = self.runner.fill(&POOL.into()).await;
        said.expect("the journal takes it");
    }

    /// What a request is told that gets no machine, and at once.
    async fn refused(&self, stage: &str) -> String {
        let asked = timeout(Duration::from_secs(1), self.try_setup(stage)).await;
        match asked.expect("it is told at once") {
            Err(RunnerError::Acquire(error @ AcquireError::Cordoned { .. })) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p3_who_waits_for_a_pool_that_is_cordoned_is_told_by_whom_when_and_why() {
    let world = World::new(1, 1);
    let at = world.runner().await;
    at.setup("build-1").await;
    let waits = async {
        let error = at.try_setup("build-2").await.expect_err("nothing is free");
        error.to_string()
    };
    let says = async {
        at.until("it waits", |status| status.waiting == 1).await;
        at.cordon(false, "another image").await;
    };
    let (told, ()) = tokio::join!(waits, says);
    assert_eq!(
        told,
        "pool linux takes no new stages: ann cordoned it 0 ms ago: another image"
    );
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(
        at.refused("build-3").await,
        "pool linux takes no new stages: ann cordoned it 3 min ago: another image"
    );
    // What has its machine goes on, and its retries are answered.
    at.setup("build-1").await;
    assert_eq!(at.step("build-1", "quiet").await.status, exited(0));
    at.destroy("build-1").await;
    at.until("nothing is ordered", |status| status.machines.is_empty())
        .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((at.status().ordered, at.status().booting), (0, 0));

    at.fill().await;
    at.setup("build-3").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_pool_keeps_what_is_ready_and_a_drained_one_ends_it() {
    let world = World::new(2, 4);
    let at = world.runner().await;
    let busy = at.setup("build-1").await;
    at.until("two are ready", |status| status.ready == 2).await;
    at.cordon(false, "").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((at.status().ready, at.status().claimed), (2, 1));
    assert_eq!(
        at.refused("build-2").await,
        "pool linux takes no new stages: ann cordoned it 1 min ago"
    );

    at.cordon(true, "").await;
    at.until("the busy one is left", |status| status.machines.len() == 1)
        .await;
    assert_eq!(world.provider.alive(), [busy.machine_id().clone()]);
    let cordon = at.status().cordon.expect("it is drained");
    assert_eq!((cordon.drains, &*cordon.by), (true, "ann"));
    assert_eq!(at.step("build-1", "quiet").await.status, exited(0));

    at.fill().await;
    assert_eq!(at.status().cordon, None);
    at.until("they are back", |status| status.ready == 2).await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p9_the_same_word_again_changes_nothing() {
    let world = World::new(0, 1);
    let at = world.runner().await;
    at.cordon(true, "x").await;
    let first = at.status().cordon.expect("it is drained");
    tokio::time::sleep(Duration::from_secs(5)).await;
    at.cordon(true, "x").await;
    assert_eq!(at.status().cordon.expect("it is drained").at, first.at);
    at.fill().await;
    at.fill().await;
    at.setup("build-1").await;
    world.end(at).await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_cordon_outlasts_a_restart_and_a_take_over() {
    let world = World::new(1, 2);
    let first = world.shared("first").await;
    first
        .until("one is ready", |status| status.ready == 1)
        .await;
    first.cordon(false, "x").await;
    drop(first);

    let second = world.shared("second").await;
    second.owns().await;
    second.refused("build-1").await;
    second
        .until("the ready one is ours", |status| status.ready == 1)
        .await;
    second.cordon(true, "y").await;
    second
        .until("it is empty", |status| status.machines.is_empty())
        .await;
    drop(second);

    let third = world.shared("third").await;
    third.owns().await;
    assert!(third.refused("build-1").await.ends_with("ago: y"));
    assert_eq!(world.provider.alive(), []);
    third.fill().await;
    third.setup("build-1").await;
    world.end(third).await;
}
