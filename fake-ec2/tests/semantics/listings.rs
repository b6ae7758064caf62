//! Filters and pages.

use fake_ec2::{Fault, Rule};

use crate::sky::Sky;

const IDS: &str = "reservationSet/item/instancesSet/item/instanceId";

fn pages(sky: &mut Sky, size: &str) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut token) = (Vec::new(), 0, None::<String>);
    loop {
        let mut params = vec![
            ("MaxResults", size),
            ("Filter.1.Name", "tag-key"),
            ("Filter.1.Value.1", "pool"),
        ];
        if let Some(token) = &token {
            params.push(("NextToken", token));
        }
        let answer = sky.ok("DescribeInstances", &params);
        ids.extend(answer.texts(IDS).into_iter().map(str::to_owned));
        pages += 1;
        assert!(pages < 1000, "the listing ends");
        token = answer.text_at("nextToken").map(str::to_owned);
        if token.is_none() {
            return (ids, pages);
        }
    }
}

fn hundred() -> (Sky, Vec<String>) {
    let mut sky = Sky::new();
    let mut ids = sky.launch(&[
        ("MaxCount", "100"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "pool"),
        ("TagSpecification.1.Tag.1.Value", "p"),
    ]);
    sky.launch(&[("MaxCount", "7")]);
    ids.sort();
    (sky, ids)
}

#[test]
fn pages_have_everything_once() {
    let (mut sky, ids) = hundred();
    let (listed, pages) = pages(&mut sky, "9");
    assert_eq!((listed, pages), (ids, 12));
}

#[test]
fn short_and_empty_pages_lose_nothing() {
    let (mut sky, ids) = hundred();
    sky.cloud
        .faults
        .add(Rule::on("DescribeInstances", Fault::ShortPage).with_chance(0.7));
    let (listed, pages) = pages(&mut sky, "10");
    assert_eq!(listed, ids);
    assert!(pages > 11);
}

#[test]
fn a_token_is_for_the_request_that_it_came_from() {
    let (mut sky, _) = hundred();
    let answer = sky.ok("DescribeInstances", &[("MaxResults", "5")]);
    let token = answer.text_at("nextToken").unwrap().to_owned();
    for params in [
        &[
            ("NextToken", token.as_str()),
            ("Filter.1.Name", "vpc-id"),
            ("Filter.1.Value.1", "x"),
        ][..],
        &[("NextToken", "bm9uZQ==")],
        &[("NextToken", "%")],
    ] {
        let refused = sky.refused("DescribeInstances", params);
        assert_eq!(refused, "InvalidPaginationToken");
    }
}

#[test]
fn page_sizes_and_ids_do_not_go_together() {
    let (mut sky, ids) = hundred();
    let refused = sky.refused(
        "DescribeInstances",
        &[("InstanceId.1", &ids[0]), ("MaxResults", "5")],
    );
    assert_eq!(refused, "InvalidParameterCombination");
    for size in ["0", "4", "1001", "x"] {
        let refused = sky.refused("DescribeInstances", &[("MaxResults", size)]);
        assert_eq!(refused, "InvalidParameterValue", "{size}");
    }
}

#[test]
fn filters_must_all_match_and_their_values_need_one() {
    let mut sky = Sky::new();
    let small = sky.launch(&[]).remove(0);
    sky.launch(&[("InstanceType", "m6i.xlarge")]);
    sky.launch(&[("InstanceType", "c6i.large")]);
    sky.pass(1);
    sky.ok("TerminateInstances", &[("InstanceId.1", &small)]);
    sky.pass(1);
    for (filters, count) in [
        (&[("instance-type", &["m6i.*"][..])][..], 2),
        (&[("instance-type", &["m6i.*", "c6i.*"])], 3),
        (
            &[
                ("instance-type", &["m6i.*"]),
                ("instance-state-name", &["running", "pending"]),
            ],
            1,
        ),
        (
            &[("state-reason-code", &["Client.UserInitiatedShutdown"])],
            1,
        ),
        (&[("architecture", &["arm64"])], 0),
    ] {
        let mut params = Vec::new();
        for (n, (name, values)) in filters.iter().enumerate() {
            params.push((format!("Filter.{}.Name", n + 1), (*name).to_owned()));
            for (v, value) in values.iter().enumerate() {
                let key = format!("Filter.{}.Value.{}", n + 1, v + 1);
                params.push((key, (*value).to_owned()));
            }
        }
        let params: Vec<_> = params
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let found = sky.ok("DescribeInstances", &params);
        assert_eq!(found.texts(IDS).len(), count, "{filters:?}");
    }
}

#[test]
fn images_are_found_by_owner_name_and_age() {
    let mut sky = Sky::new();
    let ubuntu = [
        ("Owner.1", "099720109477"),
        ("Filter.1.Name", "name"),
        (
            "Filter.1.Value.1",
            "ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-amd64-server-*",
        ),
    ];
    let found = sky.ok("DescribeImages", &ubuntu);
    let newest = found.texts("imagesSet/item/creationDate").into_iter().max();
    assert_eq!(newest, Some("2025-06-10T06:02:44.000Z"));
    let old = ("Filter.1.Value.1", "*bionic*");
    let named = ("Filter.1.Name", "name");
    let found = sky.ok("DescribeImages", &[named, old]);
    assert!(found.all("imagesSet/item").is_empty(), "it is deprecated");
    let found = sky.ok(
        "DescribeImages",
        &[named, old, ("IncludeDeprecated", "true")],
    );
    assert_eq!(found.all("imagesSet/item").len(), 1);
    let found = sky.ok("DescribeImages", &[("Owner.1", "self")]);
    assert!(found.all("imagesSet/item").is_empty());
}
