//! What a launch makes, and what of it the API tells.

use fake_ec2::{Architecture, Effect, Market, State};

use crate::sky::Sky;

const TAGGED: &[(&str, &str)] = &[
    ("TagSpecification.1.ResourceType", "instance"),
    ("TagSpecification.1.Tag.1.Key", "pool"),
    ("TagSpecification.1.Tag.1.Value", "p"),
    ("TagSpecification.2.ResourceType", "volume"),
    ("TagSpecification.2.Tag.1.Key", "pool"),
    ("TagSpecification.2.Tag.1.Value", "p"),
    ("TagSpecification.3.ResourceType", "network-interface"),
    ("TagSpecification.3.Tag.1.Key", "pool"),
    ("TagSpecification.3.Tag.1.Value", "p"),
];

#[test]
fn tags_are_there_with_the_machine_and_on_all_that_comes_with_it() {
    let mut sky = Sky::new();
    let mut more = TAGGED.to_vec();
    more.extend([
        ("InstanceMarketOptions.MarketType", "spot"),
        ("TagSpecification.4.ResourceType", "spot-instances-request"),
        ("TagSpecification.4.Tag.1.Key", "pool"),
        ("TagSpecification.4.Tag.1.Value", "p"),
    ]);
    let id = sky.launch(&more).remove(0);
    let instance = sky.truth(&id);
    assert_eq!(instance.tags["pool"], "p");
    assert_eq!(instance.market, Market::Spot);
    assert!(sky.cloud.volumes().all(|volume| volume.tags["pool"] == "p"));
    assert!(
        sky.cloud
            .interfaces()
            .all(|interface| interface.tags["pool"] == "p")
    );
    assert!(
        sky.cloud
            .spot_requests()
            .all(|request| request.tags["pool"] == "p")
    );
    for (action, set) in [
        ("DescribeVolumes", "volumeSet/item"),
        ("DescribeNetworkInterfaces", "networkInterfaceSet/item"),
        (
            "DescribeSpotInstanceRequests",
            "spotInstanceRequestSet/item",
        ),
    ] {
        let filter = [("Filter.1.Name", "tag:pool"), ("Filter.1.Value.1", "p")];
        assert_eq!(sky.ok(action, &filter).all(set).len(), 1, "{action}");
    }
}

#[test]
fn spot_request_tags_without_a_spot_request_are_refused() {
    let mut sky = Sky::new();
    let refused =
        sky.launch_refused(&[("TagSpecification.1.ResourceType", "spot-instances-request")]);
    assert_eq!(refused, "InvalidParameterCombination");
}

#[test]
fn a_machine_is_started_once_it_runs_with_its_user_data() {
    let mut sky = Sky::new();
    let id = sky.launch(&[("UserData", "IyEvYmluL3No")]).remove(0);
    assert!(sky.cloud.take_effects().is_empty(), "it is still pending");
    sky.pass(0);
    let effects = sky.cloud.take_effects();
    let [Effect::Start(birth)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(birth.instance, id);
    assert_eq!(birth.user_data.as_deref(), Some(&b"#!/bin/sh"[..]));
    assert!(birth.private_address.is_loopback());
}

#[test]
fn user_data_is_not_in_the_record() {
    let mut sky = Sky::new();
    sky.launch(&[("UserData", "c2VjcmV0")]);
    let call = sky.cloud.record.calls().next().unwrap();
    assert_eq!(call.params["UserData"], "(8 characters)");
}

#[test]
fn a_template_is_under_a_launch_and_the_request_on_top() {
    let mut sky = Sky::new();
    let image = sky.image(Architecture::X86_64);
    let template = sky
        .ok(
            "CreateLaunchTemplate",
            &[
                ("LaunchTemplateName", "one"),
                ("LaunchTemplateData.ImageId", &image),
                ("LaunchTemplateData.InstanceType", "m5.large"),
                ("LaunchTemplateData.KeyName", "mine"),
            ],
        )
        .text_at("launchTemplate/launchTemplateId")
        .unwrap()
        .to_owned();
    let id = sky
        .ok(
            "RunInstances",
            &[
                ("LaunchTemplate.LaunchTemplateId", &template),
                ("InstanceType", "m6i.large"),
                ("MinCount", "1"),
                ("MaxCount", "1"),
            ],
        )
        .text_at("instancesSet/item/instanceId")
        .unwrap()
        .to_owned();
    let instance = sky.truth(&id);
    assert_eq!(instance.instance_type, "m6i.large");
    assert_eq!(instance.key_name.as_deref(), Some("mine"));
    sky.ok("DeleteLaunchTemplate", &[("LaunchTemplateId", &template)]);
    let refused = sky.launch_refused(&[("LaunchTemplate.LaunchTemplateId", &template)]);
    assert_eq!(refused, "InvalidLaunchTemplateId.NotFound");
}

#[test]
fn a_launch_that_fails_ends_with_its_reason() {
    let mut sky = Sky::new();
    sky.cloud.faults.add(
        fake_ec2::Rule::on(
            "RunInstances",
            fake_ec2::Fault::FailedLaunch {
                code: "Client.InternalError".to_owned(),
            },
        )
        .times(1),
    );
    let id = sky.launch(&[]).remove(0);
    sky.pass(1);
    let instance = sky.truth(&id);
    assert_eq!(instance.state, State::Terminated);
    let reason = instance.reason.as_ref().unwrap();
    assert_eq!(reason.code, "Client.InternalError");
    assert_eq!(sky.cloud.volumes().count(), 0);
}

#[test]
fn one_seed_gives_one_history() {
    let history = || {
        let mut sky = Sky::new();
        let ids = sky.launch(&[("MaxCount", "5")]);
        let address = sky.truth(&ids[0]).private_address;
        (ids, address)
    };
    assert_eq!(history(), history());
}
