//! Requests that wait are seen in the status, and the journal tells why (P3).

use std::time::Duration;

use vmpool_core::journal::{Event, RowKey};
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{ErrorKind, PoolConfig};

use crate::harness::{World, patient};

async fn history(world: &World, stage: &str) -> Vec<Event> {
    // Notes are written by a task that nobody waits for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let key = RowKey::Stage(stage.into());
    let history = world.parts.journal.history(&key, 10).await;
    history.expect("readable")
}

fn told(history: &[Event]) -> Vec<&str> {
    history.iter().map(|event| &*event.what).collect()
}

#[tokio::test(start_paused = true)]
async fn p3_a_request_that_waits_is_in_the_status_and_the_journal_says_why() {
    let world = World::new(0, 1).await;
    world.lease("build-1").await;
    let waits = world
        .pool
        .acquire(patient("build-2", Duration::from_secs(600)));
    let looks = async {
        world.until("waits", |s| s.waiters.len() == 1).await;
        let waiter = world.status().waiters.remove(0);
        assert_eq!(waiter.stage, "build-2".into());
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.release("build-1").await;
        waiter.since
    };
    let (lease, since) = tokio::join!(waits, looks);
    let lease = lease.expect("its turn comes");
    assert_eq!(lease.claimed_at().since(since).as_secs(), 30);
    assert_eq!(world.status().waiters, []);
    let history = history(&world, "build-2").await;
    assert_eq!(told(&history), ["waits", "claimed"]);
    assert!(
        history[0]
            .cause
            .contains("no machine of pool linux is ready")
    );
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_a_request_that_finds_a_machine_ready_leaves_no_note() {
    let world = World::new(1, 1).await;
    world.ready(1).await;
    world.lease("build-1").await;
    assert_eq!(told(&history(&world, "build-1").await), ["claimed"]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p3_the_journal_tells_of_requests_that_end_without_a_machine() {
    let plan = FaultPlan::none().always(Call::Launch, Fault::Fail(ErrorKind::NoCapacity));
    let world = World::with(PoolConfig::new("linux", 0, 5), plan).await;
    let late = patient("build-1", Duration::from_secs(60));
    world.pool.acquire(late).await.expect_err("no capacity");
    let first = history(&world, "build-1").await;
    // The second says what was found out when its machine was ordered.
    assert_eq!(told(&first), ["waits", "waits", "refused"]);
    assert!(first[1].cause.contains("no capacity"), "{first:?}");
    assert!(first[2].cause.contains("no capacity"), "{first:?}");

    // Its caller goes away.
    let dropped = tokio::time::timeout(Duration::from_secs(5), world.acquire("build-2"));
    dropped.await.expect_err("no capacity");
    let second = history(&world, "build-2").await;
    assert_eq!(told(&second), ["waits", "refused"]);
    assert!(second[1].cause.contains("gave up"), "{second:?}");
    assert_eq!(world.status().waiters, []);
    world.end().await;
}
