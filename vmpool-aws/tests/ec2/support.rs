//! A fake EC2, an account in it, and orders as a pool would make them.

use std::collections::BTreeMap;
use std::sync::Arc;

use fake_ec2::{Catalog, Clock, Config, Control, FakeEc2, Hollow, Timing};
use vmpool_aws::account::{Login, keys};
use vmpool_aws::user_data::UserData;
use vmpool_aws::{
    Disk, Ec2Account, Ec2Provider, Machine, Markets, Network, Preference, Template, Zone, ec2, ssm,
};
use vmpool_core::account::{Account, AccountConfig};
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{
    Attempt, LaunchOrder, LaunchOutcome, OrderDraft, OrderId, Owner, Place, Provider, SecretBytes,
    Tags, Timestamp,
};

/// The region of all tests.
pub(crate) const REGION: &str = "us-east-1";
const OWNER: &str = "ci";

/// A fake EC2 and an account's way to it.
pub(crate) struct Site {
    fake: FakeEc2,
    /// How the account is reached.
    pub(crate) config: aws_config::SdkConfig,
}

impl Site {
    /// One in which everything happens at once.
    pub(crate) async fn new() -> Self {
        Self::with(Config {
            timing: Timing::instant(),
            ..Config::default()
        })
        .await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        let fake = FakeEc2::start(config, Clock::manual(), Arc::new(Hollow), listen)
            .await
            .expect("a fake EC2");
        let login = Login {
            keys: Some(keys("AKIAFAKE", "secret", None)),
            region: Some(REGION.to_owned()),
            ..Login::default()
        };
        let config = login.connect().await.into_builder();
        let config = config.endpoint_url(fake.url()).build();
        Self { fake, config }
    }

    /// The way to look into the cloud and to break it.
    pub(crate) fn cloud(&self) -> &Control {
        self.fake.control()
    }

    pub(crate) fn ec2(&self) -> aws_sdk_ec2::Client {
        ec2(&self.config)
    }

    pub(crate) fn ssm(&self) -> aws_sdk_ssm::Client {
        ssm(&self.config)
    }

    pub(crate) fn provider(&self, template: Template) -> Ec2Provider {
        Ec2Provider::new(&self.account(), template)
    }

    /// The account, with a budget of its own.
    pub(crate) fn account(&self) -> Ec2Account {
        let budget = Account::new(AccountConfig::ec2("test"));
        Ec2Account::new(&self.config, budget, vmpool_core::Clock::system())
    }

    /// How often EC2 was asked to do `action`.
    pub(crate) fn calls(&self, action: &str) -> u64 {
        self.cloud().with(|cloud, _| cloud.record.count(action))
    }

    /// Machines that are not over.
    pub(crate) fn alive(&self) -> usize {
        self.cloud().with(|cloud, _| {
            let instances = cloud.instances();
            let alive = instances.filter(|(_, _, instance)| instance.state.on_hardware());
            alive.count()
        })
    }
}

/// Ubuntu on one type, wherever EC2 puts it.
pub(crate) fn template() -> Template {
    let catalog = Catalog::default();
    let image = catalog.images.iter().find(|image| {
        image.name.contains("noble") && image.name.contains("amd64") && image.parameter.is_some()
    });
    Template {
        image: image.expect("an Ubuntu").id(REGION),
        types: vec!["m6i.large".to_owned()],
        zones: Vec::new(),
        markets: Markets::OnDemand,
        preference: Preference::Ordered,
        machine: Machine {
            disk: Disk {
                device: "/dev/sda1".to_owned(),
                gib: 32,
                kind: "gp3".to_owned(),
                iops: None,
                kms_key: None,
                tags: BTreeMap::from([("volume".to_owned(), "root".to_owned())]),
            },
            network: Network {
                security_groups: Vec::new(),
                public_address: false,
                agent_port: 9079,
            },
            key_pair: None,
            profile: None,
            hibernate: false,
            tags: BTreeMap::from([("team".to_owned(), "builds".to_owned())]),
        },
        user_data: UserData::None,
    }
}

/// The zones of that letter.
pub(crate) fn zones(letters: &str) -> Vec<Zone> {
    let zone = |letter| Zone {
        name: format!("{REGION}{letter}"),
        subnet: None,
    };
    letters.chars().map(zone).collect()
}

/// What a pool orders by.
pub(crate) fn tags(order: &str) -> Tags {
    Tags {
        owner: Owner::new(OWNER),
        deployment: "deployment".into(),
        pool: "linux".into(),
        order: OrderId::new(order),
        attempt: Attempt(1),
        expires_at: Timestamp(1_800_000_000_000),
    }
}

/// An order of `count` machines, rendered as a pool does it.
pub(crate) fn order(
    provider: &Ec2Provider,
    name: &str,
    count: u32,
    avoid: &[Place],
) -> LaunchOrder {
    order_in(provider, name, count, avoid, None)
}

/// An order for machines in a certain zone.
pub(crate) fn order_in(
    provider: &Ec2Provider,
    name: &str,
    count: u32,
    avoid: &[Place],
    zone: Option<&str>,
) -> LaunchOrder {
    let tags = tags(name);
    let bootstrap = Bootstrap {
        order: tags.order.clone(),
        attempt: tags.attempt,
        ca_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
        runner_name: "runner.deployment.vmpool".to_owned(),
        secret: SecretBytes::new([7; 32]),
        clocks: Clocks::default(),
    };
    let draft = OrderDraft {
        count,
        tags: &tags,
        bootstrap: &bootstrap,
        avoid,
        zone,
    };
    LaunchOrder {
        request: provider.render(&draft).expect("rendered"),
        id: tags.order.clone(),
        attempt: tags.attempt,
        count,
    }
}

/// Launches an order of `count` machines.
pub(crate) async fn launched(provider: &Ec2Provider, name: &str, count: u32) -> LaunchOutcome {
    provider.launch(&order(provider, name, count, &[])).await
}

/// The ids of what was launched, sorted.
pub(crate) fn ids(outcome: &LaunchOutcome) -> Vec<String> {
    let mut ids: Vec<_> = outcome.machines.iter().map(|m| m.id.to_string()).collect();
    ids.sort();
    ids
}

/// An error with all that caused it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
