//! A pool that goes on where another stopped.

use vmpool_core::pool::Origin;
use vmpool_core::{Pool, WarmPool};

use crate::harness::World;

#[tokio::test(start_paused = true)]
async fn p4_a_new_pool_on_the_same_journal_has_the_same_machines_and_stages() {
    let World {
        pool,
        provider,
        link,
        config,
        parts,
    } = World::new(2, 4).await;
    let world = World {
        pool,
        provider: provider.clone(),
        link,
        config,
        parts,
    };
    let lease = world.lease("build-1").await;
    world.ready(2).await;
    let before = provider.alive();

    let World {
        pool,
        provider,
        link,
        config,
        parts,
    } = world;
    let old_term = pool.term();
    drop(pool);
    let pool = WarmPool::start(config.clone(), parts.clone())
        .await
        .expect("it starts again");
    let world = World {
        pool,
        provider,
        link,
        config,
        parts,
    };

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
    let left = newer.shutdown(std::time::Duration::from_secs(600)).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.provider.alive(), []);
}
