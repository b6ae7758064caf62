//! A provider that takes fewer calls than the account was told.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use vmpool_core::account::{CallKind, Priority};
use vmpool_core::testkit::Call;

use crate::harness::{World, patient, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn p8_throttled_launches_back_off_until_the_provider_takes_them_and_all_are_made() {
    let world = World::new();
    // The account was told of twenty a second.
    world.provider.answer_at_most(Call::Launch, 2, SECOND);
    let mut pools = Vec::new();
    let mut requests = JoinSet::new();
    for n in 0..40 {
        let pool = world.pool(&format!("pool-{n}"), 0, 1).await;
        pools.push(pool.clone());
        requests.spawn(async move { pool.acquire(patient(&format!("build-{n}"))).await });
    }
    for lease in requests.join_all().await {
        lease.expect("the provider answers some calls all the time");
    }
    assert_eq!(world.provider.launched(), 40);
    let made = world.provider.made(Call::Launch);
    assert!(made.len() <= 60, "{} calls for 40 machines", made.len());
    let busiest = made.windows(10).map(|ten| ten[9] - ten[0]).min();
    assert!(busiest >= Some(SECOND), "ten calls within {busiest:?}");
    let took = made[made.len() - 1] - made[0];
    assert!(took <= SECOND * 120, "forty machines within {took:?}");
    world.end(pools).await;
}

#[tokio::test(start_paused = true)]
async fn p8_the_pool_says_that_it_waits_for_a_provider_that_throttles() {
    let world = World::new();
    world.provider.answer_at_most(Call::Launch, 0, SECOND * 600);
    let pool = world.pool("linux", 1, 1).await;
    until(&pool, "throttled", |status| {
        let why = status.held_off.as_deref();
        why.is_some_and(|why| why.contains("the provider throttles launch calls"))
    })
    .await;
    let told = {
        let request = tokio::time::timeout(SECOND, pool.acquire(patient("build-1")));
        request.await.expect_err("none is launched");
        world.told("build-1").await
    };
    assert!(told[0].1.contains("throttles"), "{told:?}");
    world.end([pool]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_the_full_rate_comes_back_with_calm() {
    let world = World::new();
    let account = &world.account;
    let call = || async { Some(()) };
    for _ in 0..6 {
        let throttled = async {
            let kind = vmpool_core::ErrorKind::Throttled { retry_after: None };
            Err::<(), _>(vmpool_core::ProviderError::new(kind, "launch"))
        };
        let answer = account.call(CallKind::Launch, Priority::Refill, throttled);
        answer.await.expect_err("throttled");
    }
    let slow = {
        let begun = Instant::now();
        for _ in 0..20 {
            account
                .call(CallKind::Launch, Priority::Refill, call())
                .await;
        }
        begun.elapsed()
    };
    assert!(slow >= SECOND * 30, "a sixty-fourth of the rate: {slow:?}");
    for _ in 0..60 {
        tokio::time::sleep(SECOND * 5).await;
        account
            .call(CallKind::Launch, Priority::Refill, call())
            .await;
    }
    let rate = account.config().launch;
    let begun = Instant::now();
    for _ in 0..rate.burst + 20 {
        account
            .call(CallKind::Launch, Priority::Refill, call())
            .await;
    }
    assert!(begun.elapsed() <= SECOND * 2, "{:?}", begun.elapsed());
}
