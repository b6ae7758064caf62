//! What a journal that takes its time does to a pool: what is asked of it while
//! a write is under way.

use std::sync::Arc;
use std::time::Duration;

use vmpool_core::Pool as _;

use crate::faulty_journal::{Failure, FaultyJournal, world};

const SLOW: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_ends_no_more_than_is_too_much_on_a_slow_journal() {
    let world = world(6, 10, &FaultyJournal::slow(SLOW)).await;
    world.ready(6).await;
    let before = world.provider.alive();
    world.pool.resize(4, 10);
    // Looked at again and again while the drains are written.
    for _ in 0..20 {
        world.pool.resize(4, 10);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world
        .until("smaller", |status| {
            status.ready == 4 && status.machines.len() == 4
        })
        .await;
    assert!(world.provider.alive().iter().all(|id| before.contains(id)));
    assert_eq!(world.provider.launched(), 6, "none was replaced");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_claim_that_is_written_while_the_pool_drains_is_left_alone() {
    let world = Arc::new(world(1, 1, &FaultyJournal::slow(SLOW)).await);
    world.ready(1).await;
    let claim = {
        let world = world.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { world.acquire("build-1").await });
        tasks
    };
    tokio::time::sleep(SLOW / 4).await;
    world.pool.drain("the operator drains it");
    let results = claim.join_all().await;
    results[0].as_ref().expect("it came before the drain");
    tokio::time::sleep(Duration::from_secs(10)).await;
    world
        .pool
        .attach(&"build-1".into())
        .await
        .expect("a drain leaves running stages alone");
    Arc::into_inner(world).expect("all is over").end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_claim_that_is_written_while_the_pool_shuts_down_is_ended() {
    let world = Arc::new(world(1, 1, &FaultyJournal::slow(SLOW)).await);
    world.ready(1).await;
    let mut claim = tokio::task::JoinSet::new();
    {
        let world = world.clone();
        claim.spawn(async move { world.acquire("build-1").await });
    }
    tokio::time::sleep(SLOW / 4).await;
    let left = world.pool.shutdown(Duration::from_secs(30)).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.provider.alive(), []);
    claim.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_pool_that_is_shut_down_while_it_writes_its_first_order_leaves_nothing() {
    let world = world(2, 2, &FaultyJournal::slow(SLOW)).await;
    // The keeper has its turn, the order is on its way to the journal.
    tokio::time::sleep(SLOW / 4).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_key_that_could_not_be_written_at_once_costs_no_machine() {
    let failures = [
        Failure::Unavailable,
        Failure::WrittenInDoubt,
        Failure::UnwrittenInDoubt,
        Failure::WrittenLate,
    ];
    for failure in failures {
        let journal = FaultyJournal::slow(SLOW);
        // Ordered, bound, and then its key.
        journal.fail_at(3, failure);
        let world = world(1, 1, &journal).await;
        world.ready(1).await;
        assert_eq!(world.provider.launched(), 1, "{failure:?}");
        world.end().await;
    }
}
