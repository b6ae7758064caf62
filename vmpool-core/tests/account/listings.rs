//! Listings that are shared, and that never tell of a time before the question.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use vmpool_core::account::Priority;
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{Clock, Owner, Pool, Provider};

use crate::harness::{World, lease, until};

#[tokio::test(start_paused = true)]
async fn p8_fifty_connections_that_are_lost_at_once_cost_few_listings() {
    let world = World::new();
    let pool = world.pool("linux", 0, 50).await;
    for n in 0..50 {
        lease(&pool, &format!("build-{n}")).await;
    }
    let slow = Fault::Delay(Duration::from_secs(1));
    let plan = FaultPlan::none().always(Call::List, slow);
    world.provider.set_plan(plan);
    let before = world.provider.calls(Call::List);
    for machine in pool.status().machines {
        world.link.lose(&machine.id, "connection reset");
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let made = world.provider.calls(Call::List) - before;
    // One for all, one for those who came while it was made, and a regular pass.
    assert!((1..=3).contains(&made), "{made} listings");
    assert_eq!(pool.status().claimed, 50, "all are reconnected");
    world.end([pool]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_pools_that_end_their_machines_at_once_share_their_listings() {
    let world = World::new();
    world.provider.terminate_late();
    let mut pools = Vec::new();
    for n in 0..20 {
        let name = format!("pool-{n}");
        let pool = world.pool(&name, 0, 1).await;
        lease(&pool, &name).await;
        pools.push(pool);
    }
    let before = world.provider.calls(Call::List);
    let slow = Fault::Delay(Duration::from_secs(1));
    let plan = FaultPlan::none().always(Call::List, slow);
    world.provider.set_plan(plan);
    for (n, pool) in pools.iter().enumerate() {
        let stage = format!("pool-{n}").into();
        pool.release(&stage).await.expect("the journal takes it");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.provider.finish_endings();
    for pool in &pools {
        until(pool, "gone", |status| status.machines.is_empty()).await;
    }
    let made = world.provider.calls(Call::List) - before;
    assert!((1..=5).contains(&made), "{made} listings for 20 pools");
    world.end(pools).await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_listing_counts_only_for_those_who_asked_before_it_began() {
    let world = Arc::new(World::new());
    let slow = Fault::Delay(Duration::from_millis(990));
    let plan = FaultPlan::none().always(Call::List, slow);
    world.provider.set_plan(plan);
    let clock = Clock::system();
    let mut callers = JoinSet::new();
    for n in 0..500_u64 {
        let world = world.clone();
        callers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n * 10)).await;
            let provider: Arc<dyn Provider> = world.provider.clone();
            // Some lose their patience while they make or await one.
            let patience = Duration::from_millis(if n % 3 == 0 { 300 } else { 60_000 });
            let owner = Owner::new("vmpool");
            let asked = clock.now();
            let listing = world.account.list(&provider, &owner, Priority::Audit);
            let listing = tokio::time::timeout(patience, listing).await.ok()?;
            let begun = listing.expect("it is answered").begun_at;
            Some(begun >= asked)
        });
    }
    let counts = callers.join_all().await;
    assert!(counts.iter().flatten().all(|counts| *counts));
    assert!(counts.iter().flatten().count() >= 330, "{counts:?}");
    let made = world.provider.calls(Call::List);
    // Five seconds of questions, each listing a second long or broken off before.
    assert!((5..=30).contains(&made), "{made} listings");
}
