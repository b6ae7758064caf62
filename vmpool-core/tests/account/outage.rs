//! The provider is away for an hour, and pools, requests and reconcilers all
//! want something of it.

use std::time::Duration;

use tokio::task::JoinSet;
use vmpool_core::account::AccountConfig;
use vmpool_core::testkit::{Call, Fault, FaultPlan};
use vmpool_core::{ErrorKind, Pool};

use crate::harness::{World, lease, patient, until};

const HOUR: Duration = Duration::from_hours(1);
const POOLS: usize = 10;
const CALLS: [Call; 3] = [Call::Launch, Call::List, Call::Terminate];

/// The most calls of one kind in an outage of that length: the retries that
/// the account always allows, those that `before` calls have earned, and the
/// calls that each pool had on its way when the first of them failed.
fn most_calls(config: &AccountConfig, outage: Duration, before: u64) -> u64 {
    let floor = config.retries.floor;
    let allowed = outage.as_nanos() / floor.every.as_nanos();
    let allowed = u64::try_from(allowed).expect("few") + u64::from(floor.burst);
    let earned = before * u64::from(config.retries.percent) / 100;
    allowed + earned + POOLS as u64
}

/// What ten busy pools ask of a cloud that answers so, and that they recover.
async fn an_hour_of(fault: Fault) {
    let world = World::new();
    let mut pools = Vec::new();
    for n in 0..POOLS {
        let pool = world.pool(&format!("pool-{n}"), 3, 20).await;
        until(&pool, "ready", |status| status.ready == 3).await;
        lease(&pool, &format!("build-{n}-old")).await;
        until(&pool, "refilled", |status| status.ready == 3).await;
        pools.push(pool);
    }
    let before = CALLS.map(|call| world.provider.calls(call));

    let plan = CALLS
        .iter()
        .fold(FaultPlan::none(), |plan, call| plan.always(*call, fault));
    world.provider.set_plan(plan);
    let mut requests = JoinSet::new();
    for (n, pool) in pools.iter().enumerate() {
        // Machines to end, machines to look for, requests that wait, machines to order.
        let stage = format!("build-{n}-old").into();
        pool.release(&stage).await.expect("the journal takes it");
        for machine in pool.status().machines {
            world.link.lose(&machine.id, "the network is away");
        }
        for request in 0..5 {
            let pool = pool.clone();
            let request = patient(&format!("build-{n}-{request}"));
            requests.spawn(async move { pool.acquire(request).await });
        }
    }
    tokio::time::sleep(HOUR).await;
    for (call, before) in CALLS.into_iter().zip(before) {
        let made = world.provider.calls(call) - before;
        let most = most_calls(world.account.config(), HOUR, before);
        assert!(made <= most, "{made} {call:?} calls, and {most} were fine");
        assert!(made >= 10, "{call:?}: nobody gives up after {made} calls");
    }

    world.provider.set_plan(FaultPlan::none());
    for lease in requests.join_all().await {
        lease.expect("the provider is back");
    }
    for pool in &pools {
        until(pool, "it is as before", |status| status.ready == 3).await;
    }
    world.end(pools).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_provider_that_fails_for_an_hour_gets_few_calls() {
    an_hour_of(Fault::Fail(ErrorKind::Transient)).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_provider_whose_answers_are_lost_for_an_hour_gets_few_calls() {
    an_hour_of(Fault::LoseAnswer).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_provider_that_never_answers_for_an_hour_gets_few_calls() {
    an_hour_of(Fault::Delay(Duration::from_hours(1000))).await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_provider_that_throttles_for_an_hour_gets_few_calls() {
    an_hour_of(Fault::Fail(ErrorKind::Throttled { retry_after: None })).await;
}
