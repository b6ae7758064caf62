//! CreateFleet of type instant.

use fake_ec2::{Architecture, Capacity, Element, Market};

use crate::sky::{ACCOUNT, Sky};

fn template(sky: &mut Sky) -> String {
    let image = sky.image(Architecture::X86_64);
    sky.ok(
        "CreateLaunchTemplate",
        &[
            ("LaunchTemplateName", "fleet"),
            ("LaunchTemplateData.ImageId", &image),
        ],
    )
    .text_at("launchTemplate/launchTemplateId")
    .unwrap()
    .to_owned()
}

fn fleet(sky: &mut Sky, template: &str, more: &[(&str, &str)]) -> Element {
    let at = |rest: &str| format!("LaunchTemplateConfigs.1.{rest}");
    let specification = at("LaunchTemplateSpecification.LaunchTemplateId");
    let mut pairs = vec![("Type", "instant"), (specification.as_str(), template)];
    pairs.extend_from_slice(more);
    sky.ok("CreateFleet", &pairs)
}

const TYPES: &[(&str, &str)] = &[
    (
        "LaunchTemplateConfigs.1.Overrides.1.InstanceType",
        "m6i.large",
    ),
    (
        "LaunchTemplateConfigs.1.Overrides.1.AvailabilityZone",
        "us-east-1a",
    ),
    (
        "LaunchTemplateConfigs.1.Overrides.2.InstanceType",
        "c6i.large",
    ),
    (
        "LaunchTemplateConfigs.1.Overrides.2.AvailabilityZone",
        "us-east-1b",
    ),
    ("TargetCapacitySpecification.TotalTargetCapacity", "10"),
];

fn made(answer: &Element) -> Vec<(String, usize)> {
    answer
        .all("fleetInstanceSet/item")
        .into_iter()
        .map(|part| {
            (
                part.text_at("instanceType").unwrap().to_owned(),
                part.all("instanceIds/item").len(),
            )
        })
        .collect()
}

#[test]
fn the_cheapest_place_comes_first_and_gives_all_it_has() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let answer = fleet(&mut sky, &template, TYPES);
    assert_eq!(made(&answer), [("c6i.large".to_owned(), 10)]);
    assert!(answer.all("errorSet/item").is_empty());
}

#[test]
fn what_one_place_lacks_another_gives_and_the_lack_is_told() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    sky.cloud.limits_mut(ACCOUNT).capacity.push(Capacity {
        most: 4,
        ..Capacity::none(Some("c6i.large"), None, None)
    });
    let answer = fleet(&mut sky, &template, TYPES);
    let parts = [("c6i.large".to_owned(), 4), ("m6i.large".to_owned(), 6)];
    assert_eq!(made(&answer), parts);
    assert_eq!(
        answer.texts("errorSet/item/errorCode"),
        ["InsufficientInstanceCapacity"]
    );
    let of = "errorSet/item/launchTemplateAndOverrides/overrides/instanceType";
    assert_eq!(answer.texts(of), ["c6i.large"]);
}

#[test]
fn a_shortage_that_two_places_share_is_counted_once() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    sky.cloud.limits_mut(ACCOUNT).capacity.push(Capacity {
        most: 7,
        ..Capacity::none(None, None, None)
    });
    let answer = fleet(&mut sky, &template, TYPES);
    let total: usize = made(&answer).iter().map(|(_, count)| count).sum();
    assert_eq!(total, 7);
    assert_eq!(sky.count(), 7);
}

#[test]
fn nothing_anywhere_is_an_answer_with_errors_and_no_machines() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let none = Capacity::none(None, None, None);
    sky.cloud.limits_mut(ACCOUNT).capacity.push(none);
    let answer = fleet(&mut sky, &template, TYPES);
    assert!(made(&answer).is_empty());
    assert_eq!(answer.all("errorSet/item").len(), 2);
    assert_eq!(sky.count(), 0);
}

#[test]
fn a_type_that_does_not_fit_the_image_is_an_error_beside_the_others() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let mut more = TYPES.to_vec();
    more.push((
        "LaunchTemplateConfigs.1.Overrides.3.InstanceType",
        "m6g.large",
    ));
    let answer = fleet(&mut sky, &template, &more);
    assert_eq!(
        answer.texts("errorSet/item/errorCode"),
        ["InvalidParameterValue"]
    );
    assert_eq!(sky.count(), 10);
}

#[test]
fn both_markets_can_be_in_one_call() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let mut more = TYPES.to_vec();
    more.extend([
        ("TargetCapacitySpecification.OnDemandTargetCapacity", "3"),
        (
            "TargetCapacitySpecification.DefaultTargetCapacityType",
            "spot",
        ),
    ]);
    fleet(&mut sky, &template, &more);
    let spot = sky
        .cloud
        .instances()
        .filter(|(_, _, instance)| instance.market == Market::Spot)
        .count();
    assert_eq!((sky.count(), spot), (10, 7));
}

#[test]
fn weights_are_units_of_the_target() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let mut more = TYPES.to_vec();
    more.push(("LaunchTemplateConfigs.1.Overrides.2.WeightedCapacity", "4"));
    let answer = fleet(&mut sky, &template, &more);
    assert_eq!(made(&answer), [("c6i.large".to_owned(), 3)]);
}

#[test]
fn a_repeated_fleet_gives_the_same_answer_and_other_parameters_none() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let mut more = TYPES.to_vec();
    more.push(("ClientToken", "order-1"));
    let first = fleet(&mut sky, &template, &more);
    let second = fleet(&mut sky, &template, &more);
    let ids = "fleetInstanceSet/item/instanceIds/item";
    assert_eq!(first.texts(ids), second.texts(ids));
    assert_eq!(sky.count(), 10);
    let id = "LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId";
    more.extend([
        ("Type", "instant"),
        (id, template.as_str()),
        ("SpotOptions.AllocationStrategy", "diversified"),
    ]);
    assert_eq!(
        sky.refused("CreateFleet", &more),
        "IdempotentParameterMismatch"
    );
}

#[test]
fn a_fleet_that_cannot_have_its_least_has_none() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    sky.cloud.limits_mut(ACCOUNT).capacity.push(Capacity {
        most: 4,
        ..Capacity::none(None, None, None)
    });
    let mut more = TYPES.to_vec();
    more.extend([
        ("OnDemandOptions.MinTargetCapacity", "5"),
        ("OnDemandOptions.SingleInstanceType", "true"),
    ]);
    let answer = fleet(&mut sky, &template, &more);
    assert!(made(&answer).is_empty());
    assert_eq!(sky.count(), 0);
}

#[test]
fn machines_carry_the_fleets_tags_and_amazons() {
    let mut sky = Sky::new();
    let template = template(&mut sky);
    let mut more = TYPES.to_vec();
    more.extend([
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "order"),
        ("TagSpecification.1.Tag.1.Value", "1"),
    ]);
    let answer = fleet(&mut sky, &template, &more);
    let id = answer.texts("fleetInstanceSet/item/instanceIds/item")[0];
    let tags = &sky.truth(id).tags;
    assert_eq!(tags["order"], "1");
    assert_eq!(tags["aws:ec2launchtemplate:id"], template);
    assert_eq!(
        Some(tags["aws:ec2:fleet-id"].as_str()),
        answer.text_at("fleetId")
    );
}
