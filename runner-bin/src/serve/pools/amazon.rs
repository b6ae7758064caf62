//! Pools whose machines are EC2 instances: what the pool file leaves open is
//! asked of EC2 once, before the first launch.

use std::collections::HashMap;

use anyhow::Context as _;
use vmpool_aws::account::{Login, Role, keys};
use vmpool_aws::image::ImageName;
use vmpool_aws::security_group::Admits;
use vmpool_aws::user_data::UserData;
use vmpool_aws::{
    Disk, Ec2Provider, Machine, Markets, Network, Preference, Template, Zone, ec2, ssm,
};
use vmpool_core::Owner;
use vmpool_core::account::{Account, AccountConfig};
use vmpool_pipeline::{AmazonAccount, AmazonDisk, AmazonMarket, AmazonSpec, PoolSpec};

use super::start_up::user_data;
use crate::serve::agents::Offered;

/// Where agents listen: the incumbent's port.
pub(super) const PORT: u16 = 9079;
/// The incumbent's volume, and its speed where the kind asks for one.
const GIB: u32 = 32;
const KIND: &str = "gp2";
const IO1_IOPS: u32 = 100;

/// The accounts of a pool file, each with one budget for all of its pools.
#[derive(Debug, Default)]
pub(super) struct Amazon(HashMap<String, Account>);

impl Amazon {
    /// Where a pool's machines come from, and the budget of its calls.
    ///
    /// # Errors
    /// The file names what EC2 does not have, or does not give to this account.
    pub(super) async fn machines(
        &mut self,
        pool: &PoolSpec,
        spec: &AmazonSpec,
        owner: &Owner,
        agents: Option<&Offered>,
    ) -> anyhow::Result<(Ec2Provider, Account)> {
        let user_data = user_data(pool, spec, agents)?;
        let config = login(&spec.account).connect().await;
        let (ec2, ssm) = (ec2(&config), ssm(&config));
        let image = ImageName::of(&spec.ami, spec.ami_owners.clone());
        let image = image.find(&ec2, &ssm).await.context("spec.ami")?;
        let fits = image.check_types(&ec2, &spec.sizes).await;
        fits.context("spec.size")?;
        let mut template = template(pool, spec);
        template.image.clone_from(&image.id);
        let disk = &mut template.machine.disk;
        if spec.device_name.is_none() && !image.device.is_empty() {
            disk.device.clone_from(&image.device);
        }
        disk.gib = disk.gib.max(image.gib);
        let network = &mut template.machine.network;
        if network.security_groups.is_empty() {
            let admits = Admits {
                owner: owner.clone(),
                port: PORT,
                ranges: spec.network.allow_from.clone(),
                vpc: spec.vpc.clone(),
            };
            let made = admits.find_or_make(&ec2).await;
            let made = made.context("spec.network.security_groups, or allow_from")?;
            network.security_groups.push(made);
        }
        template.user_data = user_data;
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let account = self.account(&spec.account, &region);
        Ok((Ec2Provider::new(&config, template), account))
    }

    /// Pools of the same keys, role and region share a budget.
    fn account(&mut self, account: &AmazonAccount, region: &str) -> Account {
        let keys = account.keys.as_ref().map_or("", |keys| &keys.id);
        let role = account.role_arn.as_deref().unwrap_or_default();
        let name = [region, keys, role].join(" ").trim().to_owned();
        let budget = self.0.entry(name.clone());
        budget
            .or_insert_with(|| Account::new(AccountConfig::ec2(name)))
            .clone()
    }
}

/// What lists and ends a pool's machines.
pub(super) async fn reaper(pool: &PoolSpec, spec: &AmazonSpec) -> Ec2Provider {
    let config = login(&spec.account).connect().await;
    Ec2Provider::new(&config, template(pool, spec))
}

fn login(account: &AmazonAccount) -> Login {
    let given = account.keys.as_ref();
    Login {
        keys: given.map(|given| keys(&given.id, &given.secret, given.session.clone())),
        region: account.region.clone(),
        role: account.role_arn.clone().map(|arn| Role {
            arn,
            external_id: account.external_id.clone(),
        }),
    }
}

/// All of the template that the file tells.
fn template(pool: &PoolSpec, spec: &AmazonSpec) -> Template {
    let zones = spec.network.zones.iter().map(|zone| Zone {
        name: zone.name.clone().unwrap_or_default(),
        subnet: zone.subnet.clone(),
    });
    Template {
        image: String::new(),
        types: spec.sizes.clone(),
        zones: zones.collect(),
        markets: match spec.market {
            AmazonMarket::OnDemand => Markets::OnDemand,
            AmazonMarket::Spot => Markets::Spot,
            AmazonMarket::SpotThenOnDemand => Markets::SpotThenOnDemand,
        },
        preference: if spec.cheapest {
            Preference::Cheapest
        } else {
            Preference::Ordered
        },
        machine: Machine {
            disk: disk(spec, &spec.disk, &pool.platform.os_name),
            network: Network {
                security_groups: spec.network.security_groups.clone(),
                public_address: !spec.network.private,
                agent_port: PORT,
            },
            key_pair: spec.account.key_pair.clone(),
            profile: spec.instance_profile.clone(),
            hibernate: spec.hibernate,
            tags: spec.tags.clone(),
        },
        user_data: UserData::None,
    }
}

fn disk(spec: &AmazonSpec, disk: &AmazonDisk, os_name: &str) -> Disk {
    let kind = disk.kind.clone().unwrap_or_else(|| KIND.into());
    let usual_device = match os_name {
        "ubuntu" => "/dev/sda1",
        _ => "/dev/xvda",
    };
    Disk {
        device: spec
            .device_name
            .clone()
            .unwrap_or_else(|| usual_device.into()),
        gib: disk.gib.unwrap_or(GIB),
        iops: disk.iops.or_else(|| (kind == "io1").then_some(IO1_IOPS)),
        kind,
        kms_key: disk.kms_key.clone(),
        tags: disk.tags.clone(),
    }
}
