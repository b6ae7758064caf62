//! Listings: all that is ours, in EC2's own words, and nothing else.

use fake_ec2::{Fault, Rule};
use vmpool_aws::Network;
use vmpool_core::{ListedState, Provider};

use crate::support::{Site, ids, launched, tags, template};

#[tokio::test]
async fn a_listing_shows_each_machine_with_its_tags_and_address() {
    let site = Site::new().await;
    let provider = site.provider(template());
    let outcome = launched(&provider, "o", 2).await;
    let listing = provider.list(&"ci".into()).await.expect("a listing");
    assert!(listing.complete);
    let mut listed: Vec<_> = listing.machines.iter().map(|m| m.id.to_string()).collect();
    listed.sort();
    assert_eq!(listed, ids(&outcome));
    for machine in &listing.machines {
        assert_eq!(machine.tags, tags("o"));
        assert_eq!(machine.state, ListedState::Alive);
        assert_eq!(machine.address.expect("an address").port(), 9079);
    }
    let launched_at: Vec<_> = outcome.machines.iter().map(|m| m.address).collect();
    assert!(launched_at.iter().all(Option::is_some), "{launched_at:?}");
    let others = provider.list(&"somebody".into()).await.expect("a listing");
    assert!(others.machines.is_empty());
}

#[tokio::test]
async fn machines_that_were_asked_a_public_address_are_dialled_there() {
    let site = Site::new().await;
    let mut shape = template();
    shape.machine.network = Network {
        public_address: true,
        ..shape.machine.network
    };
    let provider = site.provider(shape);
    launched(&provider, "o", 1).await;
    let listing = provider.list(&"ci".into()).await.expect("a listing");
    let public = site.cloud().with(|cloud, _| {
        let mut instances = cloud.instances();
        instances
            .next()
            .and_then(|(_, _, instance)| instance.public_address)
    });
    let address = listing.machines[0].address.expect("an address");
    assert_eq!(Some(address.ip()), public.map(Into::into));
}

#[tokio::test]
async fn p1_pages_that_are_short_or_empty_are_not_the_end_of_a_listing() {
    let site = Site::new().await;
    let provider = site.provider(template());
    launched(&provider, "o", 5).await;
    site.cloud()
        .fault(Rule::on("DescribeInstances", Fault::ShortPage).times(3));
    let listing = provider.list(&"ci".into()).await.expect("a listing");
    assert!(listing.complete);
    assert_eq!(listing.machines.len(), 5);
}

#[tokio::test]
async fn p1_a_listing_that_breaks_off_is_not_complete() {
    let site = Site::new().await;
    let provider = site.provider(template());
    launched(&provider, "o", 5).await;
    site.cloud()
        .fault(Rule::on("DescribeInstances", Fault::ShortPage).times(1));
    site.cloud()
        .fault(Rule::on("DescribeInstances", Fault::LoseAnswer).times(1));
    let listing = provider.list(&"ci".into()).await.expect("its first page");
    assert!(!listing.complete);
}
