//! Client tokens. P1 and P9 of the provider stand on this.

use crate::sky::Sky;

#[test]
fn a_repeated_launch_gives_the_same_machines_in_their_newer_states() {
    let mut sky = Sky::new();
    let more = [("ClientToken", "order-1"), ("MaxCount", "3")];
    let first = sky.try_launch(&more).unwrap();
    sky.pass(1);
    let second = sky.try_launch(&more).unwrap();
    let ids = "instancesSet/item/instanceId";
    assert_eq!(first.texts(ids), second.texts(ids));
    assert_eq!(
        first.text_at("reservationId"),
        second.text_at("reservationId")
    );
    let state = "instancesSet/item/instanceState/name";
    assert_eq!(first.texts(state), ["pending"; 3]);
    assert_eq!(second.texts(state), ["running"; 3]);
    assert_eq!(sky.count(), 3);
}

#[test]
fn the_same_token_with_other_parameters_is_refused() {
    let mut sky = Sky::new();
    sky.launch(&[("ClientToken", "order-1")]);
    for other in [
        ("MaxCount", "2"),
        ("InstanceType", "m6i.xlarge"),
        ("UserData", "eA=="),
        ("TagSpecification.1.ResourceType", "instance"),
    ] {
        let refused = sky.launch_refused(&[("ClientToken", "order-1"), other]);
        assert_eq!(refused, "IdempotentParameterMismatch", "{other:?}");
    }
    assert_eq!(sky.count(), 1);
}

#[test]
fn the_same_token_in_another_zone_launches_again() {
    let mut sky = Sky::new();
    let mut ids = Vec::new();
    for zone in ["us-east-1a", "us-east-1b", "us-east-1a"] {
        ids.extend(sky.launch(&[("ClientToken", "t"), ("Placement.AvailabilityZone", zone)]));
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2]);
    // Without a zone it is a token of the region: a third machine.
    sky.launch(&[("ClientToken", "t")]);
    assert_eq!(sky.count(), 3);
}

#[test]
fn a_token_is_for_one_account_and_one_region() {
    let mut sky = Sky::new();
    sky.launch(&[("ClientToken", "t")]);
    sky.region = "eu-central-1".to_owned();
    sky.launch(&[("ClientToken", "t")]);
    sky.key = "444455556666".to_owned();
    sky.launch(&[("ClientToken", "t")]);
    assert_eq!(sky.count(), 3);
}

#[test]
fn a_token_whose_machines_are_terminated_launches_nothing() {
    let mut sky = Sky::new();
    let ids = sky.launch(&[("ClientToken", "t")]);
    sky.ok("TerminateInstances", &[("InstanceId.1", &ids[0])]);
    sky.pass(1);
    let token = [("ClientToken", "t")];
    assert_eq!(sky.launch_refused(&token), "IdempotentInstanceTerminated");
    // Also when the machine is listed no longer.
    sky.pass(2 * 3600);
    assert_eq!(sky.count(), 0);
    assert_eq!(sky.launch_refused(&token), "IdempotentInstanceTerminated");
}

#[test]
fn a_refused_launch_spends_no_token() {
    let mut sky = Sky::new();
    let none = fake_ec2::Capacity::none(None, None, None);
    sky.cloud
        .limits_mut(crate::sky::ACCOUNT)
        .capacity
        .push(none);
    let token = [("ClientToken", "t")];
    assert_eq!(sky.launch_refused(&token), "InsufficientInstanceCapacity");
    sky.cloud.limits_mut(crate::sky::ACCOUNT).capacity.clear();
    sky.launch(&token);
    assert_eq!(sky.count(), 1);
}

#[test]
fn a_token_that_is_too_long_is_refused() {
    let mut sky = Sky::new();
    let long = "x".repeat(65);
    let refused = sky.launch_refused(&[("ClientToken", &long)]);
    assert_eq!(refused, "InvalidClientToken");
}
