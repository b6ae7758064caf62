//! Spot prices: the cheapest place first, and no launch that waits for them.

use fake_ec2::{Capacity, Config, Fault, Rule};
use vmpool_aws::{Ec2Provider, Markets, Preference, Template};
use vmpool_core::{LaunchOutcome, Market, Provider};

use crate::support::{Site, launched, template, told, zones};

const PRICES: &str = "DescribeSpotPriceHistory";

/// Two types in two zones. The last one is the cheapest by far.
fn cheapest() -> Template {
    Template {
        types: vec!["m6i.large".to_owned(), "m5.large".to_owned()],
        zones: zones("ab"),
        markets: Markets::Spot,
        preference: Preference::Cheapest,
        ..template()
    }
}

async fn site() -> Site {
    let mut config = Config::default();
    for kind in &mut config.catalog.types {
        let price = if kind.name == "m5.large" {
            9_000
        } else {
            70_000
        };
        kind.spot_prices.insert("us-east-1b".to_owned(), price);
    }
    Site::with(config).await
}

/// What was launched, as `type in zone`.
fn places(site: &Site) -> Vec<String> {
    site.cloud().with(|cloud, _| {
        let instances = cloud.instances();
        let places = instances.map(|(_, _, i)| format!("{} in {}", i.instance_type, i.zone));
        places.collect()
    })
}

fn no_capacity(site: &Site, kind: Option<&str>, zone: Option<&str>) {
    site.cloud().with(|cloud, _| {
        let limits = cloud.limits_mut(fake_ec2::DEFAULT_ACCOUNT);
        let spot = Some(fake_ec2::Market::Spot);
        limits.capacity.push(Capacity::none(kind, zone, spot));
    });
}

/// What a launch says that finds no machine anywhere.
async fn evidence(site: &Site, provider: &Ec2Provider) -> String {
    no_capacity(site, None, None);
    let outcome: LaunchOutcome = launched(provider, "nowhere", 1).await;
    told(&outcome.refused[0].1)
}

#[tokio::test]
async fn the_cheapest_place_comes_first_and_the_evidence_names_its_price() {
    let site = site().await;
    let provider = site.provider(cheapest());
    // A short page is not the end.
    site.cloud()
        .fault(Rule::on(PRICES, Fault::ShortPage).times(1));
    for _ in 0..3 {
        provider.list(&"ci".into()).await.expect("a listing");
    }
    assert_eq!(site.calls(PRICES), 2, "two pages, and read once");
    let outcome = launched(&provider, "o", 1).await;
    assert_eq!(outcome.machines.len(), 1, "{outcome:?}");
    assert_eq!(places(&site), ["m5.large in us-east-1b"]);
    // Who keeps it is told what it costs, once a listing has shown it.
    provider.list(&"ci".into()).await.expect("a listing");
    let price = provider.dollars_an_hour(&outcome.machines[0].id);
    assert_eq!(price, Some(0.009));

    let text = evidence(&site, &provider).await;
    let order = "launch 1 m5.large in us-east-1b (spot) at $0.0090/h or \
                 m6i.large in us-east-1a (spot) at $0.0288/h or ";
    assert!(text.starts_with(order), "{text}");
    assert_eq!(site.calls(PRICES), 2, "a launch asks for none");
}

#[tokio::test]
async fn p8_prices_that_cannot_be_read_hold_no_launch_up_and_are_not_asked_for_at_once_again() {
    let site = site().await;
    let provider = site.provider(cheapest());
    let code = "UnauthorizedOperation".to_owned();
    let message = "no policy allows it".to_owned();
    site.cloud()
        .fault(Rule::on(PRICES, Fault::Error { code, message }));
    for _ in 0..3 {
        let listing = provider.list(&"ci".into()).await.expect("a listing");
        assert!(listing.complete);
    }
    assert_eq!(site.calls(PRICES), 1);
    assert_eq!(launched(&provider, "o", 1).await.machines.len(), 1);
    let text = evidence(&site, &provider).await;
    assert!(
        text.starts_with("launch 1 m6i.large in us-east-1a (spot) or "),
        "{text}"
    );
    let why = "(in the pool file's order, prices are not known: UnauthorizedOperation: no policy";
    assert!(text.contains(why), "{text}");
}

#[tokio::test]
async fn the_cheapest_place_without_capacity_is_left_for_the_next_cheapest() {
    let site = site().await;
    let provider = site.provider(cheapest());
    provider.list(&"ci".into()).await.expect("a listing");
    no_capacity(&site, Some("m5.large"), Some("us-east-1b"));
    let outcome = launched(&provider, "o", 2).await;
    assert_eq!(outcome.machines.len(), 2, "{outcome:?}");
    for place in places(&site) {
        assert!(place.ends_with("us-east-1a"), "{place}");
    }
}

#[tokio::test]
async fn on_demand_machines_and_ordered_pools_ask_for_no_prices() {
    let site = site().await;
    for (markets, preference) in [
        (Markets::OnDemand, Preference::Cheapest),
        (Markets::SpotThenOnDemand, Preference::Ordered),
    ] {
        let provider = site.provider(Template {
            markets,
            preference,
            ..cheapest()
        });
        let all = provider.capabilities().places;
        assert!(all.iter().any(|place| place.market == Market::OnDemand));
        provider.list(&"ci".into()).await.expect("a listing");
    }
    assert_eq!(site.calls(PRICES), 0);
}
