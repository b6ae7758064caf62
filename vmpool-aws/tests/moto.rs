//! The calls of vmpool-aws to moto, another fake EC2, and to ours. Both answer
//! the same, but for the differences below: of each fake-ec2/README.md says who
//! is right, and by what source.
//!
//! `cargo xtask moto` starts a moto and runs this.

#[path = "ec2/support.rs"]
#[expect(dead_code, reason = "shared with the tests that need more of it")]
mod support;

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{ArchitectureValues, Filter};
use vmpool_aws::image::{Image, ImageName};
use vmpool_aws::security_group::Admits;
use vmpool_aws::{Ec2Provider, Template};
use vmpool_core::{LaunchOutcome, ListedState, MachineId, Provider, ProviderError};

use crate::support::{Site, ids, launched, order, template, zones};

/// What moto answers otherwise.
const DIFFERENCES: [(&str, &str); 3] = [
    (
        "a launch of an unknown image",
        "1 launched, refused [], unknown false",
    ),
    (
        "a launch of two",
        "1 launched, refused [\"the provider has no capacity\"], unknown false",
    ),
    ("the launch again", "false"),
];

#[tokio::test]
async fn moto_and_the_fake_answer_the_same_but_for_what_is_known() {
    let moto = std::env::var("VMPOOL_TEST_MOTO").expect("run by `cargo xtask moto`");
    let ours = answers(&Site::new().await).await;
    let mut elsewhere = Site::new().await;
    let config = elsewhere.config.into_builder();
    elsewhere.config = config.endpoint_url(moto).build();
    let mut theirs = answers(&elsewhere).await;
    for (question, answer) in DIFFERENCES {
        let theirs = theirs.insert(question, ours[question].clone());
        assert_eq!(
            theirs.as_deref(),
            Some(answer),
            "{question}: moto is another"
        );
        assert_ne!(ours[question], answer, "{question}: no difference any more");
    }
    assert_eq!(ours, theirs);
}

type Answers = BTreeMap<&'static str, String>;

async fn answers(site: &Site) -> Answers {
    let mut said = Answers::new();
    let image = prepared(site, &mut said).await;
    lived(site, image, &mut said).await;
    said
}

/// What is asked before the first launch.
async fn prepared(site: &Site, said: &mut Answers) -> String {
    let (newest, name) = newest(site).await;
    let by_name = ImageName::of(&name, vec!["amazon".to_owned(), "self".to_owned()]);
    let by_name = by_name.find(&site.ec2(), &site.ssm()).await;
    said.insert("an image by its name", outcome(&by_name));
    let image = ImageName::of(&newest, Vec::new());
    let image: Image = image.find(&site.ec2(), &site.ssm()).await.expect("found");
    said.insert("its root device", (!image.device.is_empty()).to_string());
    for (question, machine_type) in [
        ("a type that fits", "m5.large"),
        ("a type of another architecture", "m6g.large"),
        ("no type", "m99.huge"),
    ] {
        let types = [machine_type.to_owned()];
        let fits = image.check_types(&site.ec2(), &types).await;
        said.insert(question, outcome(&fits));
    }
    let unknown = ImageName::of("ami-0123456789abcdef0", Vec::new());
    let unknown = unknown.find(&site.ec2(), &site.ssm()).await;
    said.insert("an unknown image", outcome(&unknown));
    let parameter = ImageName::of("resolve:ssm:/no/such", Vec::new());
    let parameter = parameter.find(&site.ec2(), &site.ssm()).await;
    said.insert("an unknown parameter", outcome(&parameter));
    let types = ["m5.large".to_owned(), "c5.large".to_owned()];
    let prices = vmpool_aws::prices::read(&site.account(), &types).await;
    said.insert("spot prices", outcome(&prices));
    let zone = &zones("a")[0];
    let price = prices.ok().and_then(|prices| prices.of("m5.large", zone));
    said.insert("the price of one place", price.is_some().to_string());
    let admits = Admits {
        owner: "ci".into(),
        port: 9079,
        ranges: vec!["10.0.0.0/16".to_owned(), "fd00::/8".to_owned()],
        vpc: None,
    };
    let made = admits.find_or_make(&site.ec2()).await;
    said.insert("a group", outcome(&made));
    let again = admits.find_or_make(&site.ec2()).await;
    said.insert("the group again", (made.ok() == again.ok()).to_string());
    newest
}

/// Its id and name.
async fn newest(site: &Site) -> (String, String) {
    let of = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
    let found = site
        .ec2()
        .describe_images()
        .filters(of("architecture", ArchitectureValues::X8664.as_str()))
        .filters(of("state", "available"))
        .send()
        .await
        .expect("images");
    let images = found.images().iter();
    let newest = images.max_by_key(|image| image.creation_date().map(str::to_owned));
    let newest = newest.expect("an image");
    let text = |text: Option<&str>| text.expect("told").to_owned();
    (text(newest.image_id()), text(newest.name()))
}

/// Machines, from launch to end.
async fn lived(site: &Site, image: String, said: &mut Answers) {
    let one = Template {
        image,
        types: vec!["m5.large".to_owned()],
        ..template()
    };
    let several = Template {
        types: vec!["m5.large".to_owned(), "c5.large".to_owned()],
        zones: zones("ab"),
        ..one.clone()
    };
    let unknown = Template {
        image: "ami-0123456789abcdef0".to_owned(),
        ..one.clone()
    };
    let (one, several) = (site.provider(one), site.provider(several));
    let first = order(&one, "one", 1, &[]);
    let first = (one.launch(&first).await, one.launch(&first).await);
    said.insert("a launch", counted(&first.0));
    said.insert(
        "the launch again",
        (ids(&first.0) == ids(&first.1)).to_string(),
    );
    said.insert("a launch of two", counted(&launched(&one, "two", 2).await));
    let address = first.0.machines.first().and_then(|machine| machine.address);
    said.insert("its address", address.is_some().to_string());
    let fleet = launched(&several, "fleet", 2).await;
    said.insert("a fleet", counted(&fleet));
    let refused = launched(&site.provider(unknown), "unknown", 1).await;
    said.insert("a launch of an unknown image", counted(&refused));
    said.insert("of another owner", listed(&one, "nobody").await);
    let listing = one.list(&"ci".into()).await.expect("a listing");
    let whole = listing.complete && !listing.machines.is_empty();
    said.insert("a listing", whole.to_string());
    let (alive, id) = first.0.machines.first().map_or((false, None), |machine| {
        let shown = listing.machines.iter().find(|shown| shown.id == machine.id);
        let alive = shown.is_some_and(|shown| shown.state == ListedState::Alive);
        (alive, Some(machine.id.clone()))
    });
    said.insert("it is listed as ours", alive.to_string());
    let id = id.expect("a machine");
    let told = one.diagnose(&id).await.unwrap_or_default();
    said.insert(
        "its state",
        told.starts_with("EC2 says running").to_string(),
    );
    let all: Vec<MachineId> = listing.machines.into_iter().map(|m| m.id).collect();
    let with_unknown = [&[MachineId::new("i-0123456789abcdef0")], &all[..]].concat();
    let ended = one.terminate(&with_unknown).await;
    said.insert("their end", outcome(&ended));
    let listing = one.list(&"ci".into()).await.expect("a listing");
    let mut states = listing.machines.iter().map(|machine| machine.state);
    let over = states.all(|state| state == ListedState::Terminated);
    said.insert("they are over", over.to_string());
}

async fn listed(provider: &Ec2Provider, owner: &str) -> String {
    let listing = provider.list(&owner.into()).await.expect("a listing");
    listing.machines.len().to_string()
}

fn counted(outcome: &LaunchOutcome) -> String {
    let refused = outcome.refused.iter().map(|(_, error)| error.kind);
    let refused: Vec<_> = refused.map(|kind| kind.to_string()).collect();
    let unknown = outcome.unknown.is_some();
    format!(
        "{} launched, refused {refused:?}, unknown {unknown}",
        outcome.machines.len()
    )
}

fn outcome<T>(result: &Result<T, ProviderError>) -> String {
    match result {
        Ok(_) => "yes".to_owned(),
        Err(error) => error.kind.to_string(),
    }
}
