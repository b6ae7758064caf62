//! Launches: the same one however often it is sent, where there is capacity,
//! and with EC2's own words where there is none.

use fake_ec2::{Capacity, Fault, Policy, Rule, State};
use vmpool_aws::tags::{ORDER, OWNER};
use vmpool_aws::{Markets, Preference, Template};
use vmpool_core::{ErrorKind, Market, Provider};

use crate::support::{Site, ids, launched, order, order_in, template, told, zones};

fn wide() -> Template {
    Template {
        types: vec!["m6i.large".to_owned(), "m5.large".to_owned()],
        zones: zones("ab"),
        ..template()
    }
}

#[tokio::test]
async fn p1_the_same_order_is_the_same_machines_however_often_it_is_launched() {
    let site = Site::new().await;
    for (name, template) in [("one-place", template()), ("several-places", wide())] {
        let provider = site.provider(template);
        let order = order(&provider, name, 3, &[]);
        let first = provider.launch(&order).await;
        assert_eq!(first.machines.len(), 3, "{first:?}");
        let again = provider.launch(&order).await;
        assert_eq!(ids(&first), ids(&again));
    }
    assert_eq!(site.alive(), 6);
}

#[tokio::test]
async fn p1_a_lost_answer_leaves_it_open_and_a_replay_tells_the_machines() {
    for (template, action) in [(template(), "RunInstances"), (wide(), "CreateFleet")] {
        let site = Site::new().await;
        let provider = site.provider(template);
        site.cloud()
            .fault(Rule::on(action, Fault::LoseAnswer).times(1));
        let order = order(&provider, "o", 2, &[]);
        let lost = provider.launch(&order).await;
        assert_eq!(
            lost.unknown.as_ref().map(|(count, _)| *count),
            Some(2),
            "{lost:?}"
        );
        assert!(
            lost.machines.is_empty() && lost.refused.is_empty(),
            "{lost:?}"
        );
        assert_eq!(site.alive(), 2, "the machines are there");
        let replayed = provider.launch(&order).await;
        assert_eq!(replayed.machines.len(), 2, "{replayed:?}");
        assert_eq!(site.alive(), 2, "and no others");
    }
}

#[tokio::test]
async fn p1_an_error_of_ec2s_own_may_have_launched_machines() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let code = "InternalError".to_owned();
    site.cloud()
        .fault(Rule::on("RunInstances", Fault::ErrorAfterEffect { code }).times(1));
    let outcome = launched(&provider, "o", 1).await;
    assert!(
        outcome.unknown.is_some() && outcome.refused.is_empty(),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn p1_all_that_a_launch_creates_is_tagged_in_the_same_call() {
    let site = Site::new().await;
    let spot = Template {
        markets: Markets::Spot,
        ..template()
    };
    for (name, template) in [("run", template()), ("fleet", wide()), ("spot", spot)] {
        let outcome = launched(&site.provider(template), name, 1).await;
        assert_eq!(outcome.machines.len(), 1, "{name}: {outcome:?}");
    }
    assert_eq!(site.calls("CreateTags"), 0);
    site.cloud().with(|cloud, _| {
        let instances = cloud.instances().map(|(_, _, instance)| &instance.tags);
        let volumes = cloud.volumes().map(|volume| &volume.tags);
        let interfaces = cloud.interfaces().map(|interface| &interface.tags);
        let spot = cloud.spot_requests().map(|request| &request.tags);
        let mut of_spot = 0;
        for tags in instances.chain(volumes).chain(interfaces).chain(spot) {
            assert_eq!(tags.get(OWNER).map(String::as_str), Some("ci"), "{tags:?}");
            assert_eq!(
                tags.get("team").map(String::as_str),
                Some("builds"),
                "{tags:?}"
            );
            of_spot += usize::from(tags.get(ORDER).map(String::as_str) == Some("spot"));
        }
        assert_eq!(of_spot, 4, "instance, volume, interface and spot request");
        let mut volumes = cloud.volumes();
        assert!(volumes.all(|volume| volume.tags.contains_key("volume")));
    });
}

#[tokio::test]
async fn p12_a_machine_is_born_as_its_template_says_and_safe_by_default() {
    let site = Site::new().await;
    for (name, template) in [("run", template()), ("fleet", wide())] {
        launched(&site.provider(template), name, 1).await;
    }
    site.cloud().with(|cloud, _| {
        for (_, _, instance) in cloud.instances() {
            assert_eq!(instance.metadata.tokens, "required");
            assert_eq!(instance.metadata.hop_limit, 1);
            assert!(
                instance.shutdown_terminates,
                "P1: the clocks end it for good"
            );
            assert_eq!(instance.public_address, None);
        }
        for volume in cloud.volumes() {
            assert!(
                volume.encrypted && volume.delete_on_termination,
                "{volume:?}"
            );
            assert_eq!((volume.gib, volume.kind.as_str()), (32, "gp3"));
        }
        assert_eq!(cloud.instances().count(), 2);
    });
}

#[tokio::test]
async fn a_zone_that_is_wished_for_is_where_the_machines_are_unless_the_pool_has_it_not() {
    let site = Site::new().await;
    let provider = site.provider(Template {
        zones: zones("abc"),
        ..template()
    });
    for (zone, found) in [("us-east-1c", "us-east-1c"), ("us-west-9z", "us-east-1a")] {
        let order = order_in(&provider, zone, 2, &[], Some(zone));
        let outcome = provider.launch(&order).await;
        for machine in ids(&outcome) {
            let here = site.cloud().with(|cloud, _| {
                let mut instances = cloud.instances();
                let found = instances.find(|(_, _, instance)| instance.id == machine);
                found.map(|(_, _, instance)| instance.zone.clone())
            });
            assert_eq!(here.as_deref(), Some(found), "{zone}: {machine}");
        }
    }
}

#[tokio::test]
async fn a_zone_without_capacity_is_named_and_the_next_order_goes_elsewhere() {
    let site = Site::new().await;
    let shape = Template {
        zones: zones("a"),
        ..template()
    };
    site.cloud().with(|cloud, _| {
        let limits = cloud.limits_mut(fake_ec2::DEFAULT_ACCOUNT);
        limits
            .capacity
            .push(Capacity::none(None, Some("us-east-1a"), None));
    });
    let provider = site.provider(shape);
    let outcome = launched(&provider, "o", 2).await;
    let [(2, error)] = outcome.refused.as_slice() else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.kind, ErrorKind::NoCapacity);
    let place = error.place.clone().expect("a place");
    assert_eq!(place.to_string(), "m6i.large in us-east-1a");
    let text = told(error);
    assert!(text.contains("launch 2 m6i.large in us-east-1a"), "{text}");
    assert!(text.contains("InsufficientInstanceCapacity"), "{text}");

    let shape = Template {
        zones: zones("ab"),
        ..template()
    };
    let provider = site.provider(shape);
    let order = order(&provider, "elsewhere", 2, &[place]);
    assert_eq!(provider.launch(&order).await.machines.len(), 2);
}

#[tokio::test]
async fn a_fleet_goes_where_there_is_capacity_and_tells_where_there_is_none() {
    let site = Site::new().await;
    site.cloud().with(|cloud, _| {
        let limits = cloud.limits_mut(fake_ec2::DEFAULT_ACCOUNT);
        limits
            .capacity
            .push(Capacity::none(Some("m6i.large"), None, None));
    });
    let provider = site.provider(wide());
    let outcome = launched(&provider, "o", 3).await;
    assert_eq!(outcome.machines.len(), 3, "{outcome:?}");
    assert!(
        outcome.refused.is_empty() && outcome.unknown.is_none(),
        "{outcome:?}"
    );

    site.cloud().with(|cloud, _| {
        let limits = cloud.limits_mut(fake_ec2::DEFAULT_ACCOUNT);
        limits.capacity.push(Capacity::none(None, None, None));
    });
    let outcome = launched(&provider, "none", 3).await;
    let missing: u32 = outcome.refused.iter().map(|(count, _)| count).sum();
    assert_eq!((outcome.machines.len(), missing), (0, 3), "{outcome:?}");
    let mut places: Vec<_> = outcome
        .refused
        .iter()
        .filter_map(|(_, error)| Some(error.place.as_ref()?.to_string()))
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            "m5.large in us-east-1a",
            "m5.large in us-east-1b",
            "m6i.large in us-east-1a",
            "m6i.large in us-east-1b",
        ]
    );
}

#[tokio::test]
async fn spot_is_left_for_on_demand_once_every_place_of_it_is_avoided() {
    let site = Site::new().await;
    let shape = Template {
        markets: Markets::SpotThenOnDemand,
        preference: Preference::Cheapest,
        ..wide()
    };
    let provider = site.provider(shape);
    let places = provider.capabilities().places;
    let spot: Vec<_> = places
        .iter()
        .filter(|place| place.market == Market::Spot)
        .cloned()
        .collect();
    assert_eq!((places.len(), spot.len()), (8, 4));
    launched(&provider, "spot", 2).await;
    let order = order(&provider, "on-demand", 2, &spot);
    assert_eq!(provider.launch(&order).await.machines.len(), 2);
    let markets = site.cloud().with(|cloud, _| {
        let spot = cloud
            .instances()
            .filter(|(_, _, i)| i.spot_request.is_some());
        (spot.count(), cloud.instances().count())
    });
    assert_eq!(markets, (2, 4));
}

#[tokio::test]
async fn the_template_of_a_fleet_is_gone_when_its_outcome_is_certain() {
    let site = Site::new().await;
    let provider = site.provider(wide());
    launched(&provider, "o", 1).await;
    assert_eq!(site.cloud().with(|cloud, _| cloud.templates().len()), 0);

    // The answer is lost, and so is whoever would have asked again.
    site.cloud()
        .fault(Rule::on("CreateFleet", Fault::LoseAnswer).times(1));
    launched(&provider, "crashed", 1).await;
    assert_eq!(site.cloud().with(|cloud, _| cloud.templates().len()), 1);
    provider.list(&"ci".into()).await.expect("a listing");
    assert_eq!(site.cloud().with(|cloud, _| cloud.templates().len()), 0);
}

#[tokio::test]
async fn p8_what_only_a_person_can_mend_is_told_in_ec2s_words() {
    let site = Site::new().await;
    let provider = site.provider(Template {
        image: "ami-00000000000000000".to_owned(),
        ..template()
    });
    let outcome = launched(&provider, "image", 1).await;
    assert_eq!(outcome.refused[0].1.kind, ErrorKind::BadSpec);
    let text = told(&outcome.refused[0].1);
    assert!(text.contains("InvalidAMIID.NotFound"), "{text}");

    site.cloud()
        .policy("AKIAFAKE", Policy::all_but(["ec2:RunInstances"]));
    let outcome = launched(&site.provider(template()), "policy", 1).await;
    assert_eq!(outcome.refused[0].1.kind, ErrorKind::Permission);
    let text = told(&outcome.refused[0].1);
    assert!(text.contains("UnauthorizedOperation"), "{text}");
}

#[tokio::test]
async fn p8_throttling_is_told_as_such_and_not_tried_again_here() {
    let site = Site::new().await;
    let code = "RequestLimitExceeded".to_owned();
    let message = String::new();
    site.cloud()
        .fault(Rule::on("RunInstances", Fault::Error { code, message }));
    let outcome = launched(&site.provider(template()), "o", 1).await;
    let kind = outcome.refused[0].1.kind;
    assert_eq!(kind, ErrorKind::Throttled { retry_after: None });
    assert_eq!(site.calls("RunInstances"), 1);
    site.cloud().with(|cloud, _| {
        let mut instances = cloud.instances();
        assert!(instances.all(|(_, _, instance)| instance.state == State::Terminated));
    });
}
