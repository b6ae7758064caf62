//! Hardware, quotas, addresses, prices.

use fake_ec2::{Capacity, Market, State};

use crate::sky::{ACCOUNT, Sky};

fn short(sky: &mut Sky, rule: Capacity) {
    sky.cloud.limits_mut(ACCOUNT).capacity.push(rule);
}

#[test]
fn a_zone_without_hardware_refuses_and_another_one_does_not() {
    let mut sky = Sky::new();
    short(&mut sky, Capacity::none(None, Some("us-east-1a"), None));
    let refused = sky.launch_refused(&[("Placement.AvailabilityZone", "us-east-1a")]);
    assert_eq!(refused, "InsufficientInstanceCapacity");
    sky.launch(&[("Placement.AvailabilityZone", "us-east-1b")]);
    // A launch that names no zone finds one that has hardware.
    for _ in 0..10 {
        let id = sky.launch(&[]).remove(0);
        assert_ne!(sky.truth(&id).zone, "us-east-1a");
    }
}

#[test]
fn a_shortage_is_for_a_type_and_a_market() {
    let mut sky = Sky::new();
    short(
        &mut sky,
        Capacity::none(Some("m6i.large"), None, Some(Market::Spot)),
    );
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    assert_eq!(sky.launch_refused(&[spot]), "InsufficientInstanceCapacity");
    sky.launch(&[]);
    sky.launch(&[spot, ("InstanceType", "m5.large")]);
}

#[test]
fn a_launch_gets_what_there_is_between_its_least_and_its_most() {
    let mut sky = Sky::new();
    short(
        &mut sky,
        Capacity {
            most: 5,
            ..Capacity::none(None, None, None)
        },
    );
    let ids = sky.launch(&[("MinCount", "2"), ("MaxCount", "10")]);
    assert_eq!(ids.len(), 5);
    let refused = sky.launch_refused(&[]);
    assert_eq!(refused, "InsufficientInstanceCapacity");
    // What ends gives its hardware back.
    sky.ok("TerminateInstances", &[("InstanceId.1", &ids[0])]);
    sky.pass(1);
    sky.launch(&[]);
}

#[test]
fn a_stopped_machine_may_find_no_hardware_when_it_starts() {
    let mut sky = Sky::new();
    let id = sky.launch(&[]).remove(0);
    sky.pass(1);
    sky.ok("StopInstances", &[("InstanceId.1", &id)]);
    sky.pass(1);
    short(&mut sky, Capacity::none(None, None, None));
    let refused = sky.refused("StartInstances", &[("InstanceId.1", &id)]);
    assert_eq!(refused, "InsufficientInstanceCapacity");
    assert_eq!(sky.truth(&id).state, State::Stopped);
}

#[test]
fn quotas_count_vcpus_of_each_market_alone() {
    let mut sky = Sky::new();
    sky.cloud.limits_mut(ACCOUNT).on_demand_vcpus = 8;
    sky.cloud.limits_mut(ACCOUNT).spot_vcpus = 2;
    sky.launch(&[("MaxCount", "3")]);
    // What the quota forbids is refused whole, though the least would fit.
    let refused = sky.launch_refused(&[("MinCount", "1"), ("MaxCount", "2")]);
    assert_eq!(refused, "VcpuLimitExceeded");
    sky.launch(&[]);
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    sky.launch(&[spot]);
    assert_eq!(sky.launch_refused(&[spot]), "MaxSpotInstanceCountExceeded");
}

#[test]
fn a_spot_price_that_is_too_low_is_refused() {
    let mut sky = Sky::new();
    let spot = ("InstanceMarketOptions.MarketType", "spot");
    let price = "InstanceMarketOptions.SpotOptions.MaxPrice";
    let refused = sky.launch_refused(&[spot, (price, "0.001")]);
    assert_eq!(refused, "SpotMaxPriceTooLow");
    // The cheapest zone is taken where only that one is cheap enough.
    for _ in 0..5 {
        let id = sky.launch(&[spot, (price, "0.0290")]).remove(0);
        assert_eq!(sky.truth(&id).zone, "us-east-1a");
    }
}

#[test]
fn addresses_are_never_shared_and_come_back() {
    let mut sky = Sky::new();
    let ids = sky.launch(&[("MaxCount", "300")]);
    let mut addresses: Vec<_> = ids.iter().map(|id| sky.truth(id).private_address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 300);
    let free = |sky: &mut Sky| -> u32 {
        sky.ok("DescribeSubnets", &[])
            .texts("subnetSet/item/availableIpAddressCount")
            .iter()
            .map(|count| count.parse::<u32>().unwrap())
            .sum()
    };
    let before = free(&mut sky);
    for id in &ids {
        sky.ok("TerminateInstances", &[("InstanceId.1", id)]);
    }
    sky.pass(1);
    assert_eq!(free(&mut sky), before + 300);
}
