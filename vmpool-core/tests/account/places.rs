//! Capacity that is wanting at one place, and comes back.

use std::time::Duration;

use vmpool_core::account::AccountConfig;
use vmpool_core::testkit::Call;
use vmpool_core::{AcquireRequest, Market, Place, Pool};

use crate::harness::{World, lease, patient, until};

fn place(zone: &str, market: Market) -> Place {
    Place {
        machine_type: "large".into(),
        zone: zone.into(),
        market,
    }
}

#[tokio::test(start_paused = true)]
async fn p8_what_one_place_has_not_is_had_at_another_and_the_first_is_left_alone_for_a_while() {
    let config = AccountConfig::default();
    let (spot, demand) = (
        place("zone-a", Market::Spot),
        place("zone-a", Market::OnDemand),
    );
    let world = World::of(config.clone(), vec![spot.clone(), demand.clone()]);
    world.provider.set_short(&spot, true);
    let pool = world.pool("linux", 0, 20).await;
    let begun = tokio::time::Instant::now();
    lease(&pool, "build-1").await;
    assert!(begun.elapsed() < Duration::from_secs(1), "another is asked");
    assert_eq!(world.provider.calls(Call::Launch), 2);

    // Another pool of the same account asks there no more.
    let other = world.pool("other", 0, 20).await;
    lease(&other, "build-2").await;
    assert_eq!(world.provider.calls(Call::Launch), 3);
    assert_eq!(world.provider.launched_in(&spot), 0);

    // It comes back, and is used again.
    world.provider.set_short(&spot, false);
    tokio::time::sleep(config.short_for).await;
    lease(&pool, "build-3").await;
    assert_eq!(world.provider.launched_in(&spot), 1);
    assert_eq!(world.provider.launched_in(&demand), 2);
    world.end([pool, other]).await;
}

#[tokio::test(start_paused = true)]
async fn p8_where_no_place_has_capacity_requests_wait_with_the_reason_and_the_warm_size_waits_longer()
 {
    let config = AccountConfig::default();
    let places = vec![
        place("zone-a", Market::OnDemand),
        place("zone-b", Market::OnDemand),
    ];
    let world = World::of(config.clone(), places.clone());
    for place in &places {
        world.provider.set_short(place, true);
    }
    let idle = world.pool("idle", 2, 20).await;
    until(&idle, "held off", |status| status.held_off.is_some()).await;
    let held_off = idle.status().held_off.expect("just seen");
    assert!(held_off.contains("no capacity"), "{held_off}");
    tokio::time::sleep(config.short_for / 2).await;
    let calls = world.provider.calls(Call::Launch);
    assert!(calls <= 3, "nobody waits, and {calls} calls were made");

    let busy = world.pool("busy", 0, 20).await;
    let request = busy.acquire(patient("build-1"));
    let looks = async {
        until(&busy, "waits", |status| status.waiting == 1).await;
        tokio::time::sleep(Duration::from_mins(10)).await;
        let held_off = busy.status().held_off.expect("it says why it waits");
        assert!(held_off.contains("no capacity"), "{held_off}");
        let calls = world.provider.calls(Call::Launch) - calls;
        assert!(calls <= 30, "{calls} calls in ten minutes");
        world.provider.set_short(&places[1], false);
    };
    let (lease, ()) = tokio::join!(request, looks);
    lease.expect("capacity is back");
    assert_eq!(world.provider.launched_in(&places[0]), 0);
    let told = world.told("build-1").await;
    let why = |(_, why): &(String, String)| why.contains("no capacity");
    assert!(told.iter().any(why), "{told:?}");
    until(&idle, "warm again", |_| true).await;
    tokio::time::sleep(config.short_for * 2).await;
    until(&idle, "warm again", |status| status.ready == 2).await;
    world.end([idle, busy]).await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_a_zone_is_granted_once_and_costs_nobody_a_machine() {
    let places = vec![
        place("zone-a", Market::OnDemand),
        place("zone-b", Market::OnDemand),
    ];
    let world = World::of(AccountConfig::default(), places.clone());
    let pool = world.pool("linux", 0, 20).await;
    let wishing = |stage: &str, zone: &str| AcquireRequest {
        zone: Some(zone.into()),
        ..patient(stage)
    };
    let [a, b] = [0, 1].map(|n| places[n].clone());
    // Those who don't mind are served in the same moment, where it is usual.
    let (one, other, third) = tokio::join!(
        pool.acquire(wishing("build-1", "zone-b")),
        pool.acquire(patient("build-2")),
        pool.acquire(wishing("build-3", "zone-z")),
    );
    for lease in [one, other, third] {
        lease.expect("a machine");
    }
    assert_eq!(world.provider.launched_in(&b), 1);
    assert_eq!(world.provider.launched_in(&a), 2);

    // Where there is none, it is had elsewhere.
    world.provider.set_short(&b, true);
    let lease = pool.acquire(wishing("build-4", "zone-b")).await;
    lease.expect("a machine");
    assert_eq!(world.provider.launched_in(&b), 1);
    assert_eq!(world.provider.launched_in(&a), 3);
    world.end([pool]).await;
}
