//! Pools whose machines are EC2 instances: what the pool file leaves open is
//! asked of EC2 once, before the first launch.

use std::collections::HashMap;
use std::path::Path;

use vmpool_aws::account::{Login, Role, keys};
use vmpool_aws::bundle::{BundleError, CaBundle};
use vmpool_aws::user_data::UserData;
use vmpool_aws::{
    Disk, Ec2Account, Ec2Provider, Machine, Markets, Network, Preference, Template, Zone,
};
use vmpool_core::account::{Account, AccountConfig};
use vmpool_core::{Clock, Owner};
use vmpool_pipeline::{AmazonAccount, AmazonDisk, AmazonMarket, AmazonSpec, PoolSpec};

use super::found::{Answers, Question};
use super::start_up::user_data;
use crate::serve::agents::Offered;

/// Where agents listen: the incumbent's port.
pub(super) const PORT: u16 = 9079;
/// The incumbent's volume, and its speed where the kind asks for one.
const GIB: u32 = 32;
const KIND: &str = "gp2";
const IO1_IOPS: u32 = 100;

/// The accounts of a pool file: pools of the same keys, role and region share
/// one, with its budget.
#[derive(Debug)]
pub(super) struct Amazon {
    accounts: HashMap<String, Ec2Account>,
    answers: Answers,
}

impl Amazon {
    /// None yet; what EC2 answers is kept in this state directory.
    pub(super) fn new(state: &Path) -> Self {
        Self {
            accounts: HashMap::new(),
            answers: Answers::in_folder(state),
        }
    }

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
        let account = self.account(&spec.account).await?;
        let name = &account.budget().config().name;
        let question = Question::of(spec, name, owner, PORT);
        let found = self.answers.ask(&pool.name, question, &account).await?;
        let mut template = template(pool, spec);
        template.image = found.image;
        let disk = &mut template.machine.disk;
        if spec.device_name.is_none() && !found.device.is_empty() {
            disk.device = found.device;
        }
        disk.gib = disk.gib.max(found.gib);
        let network = &mut template.machine.network;
        network.security_groups.extend(found.security_group);
        template.user_data = user_data;
        let provider = Ec2Provider::new(&account, template);
        // The first launch goes by prices too, if they come soon.
        account.refresh_prices().await;
        Ok((provider, account.budget().clone()))
    }

    /// The account of a pool, connected once.
    async fn account(&mut self, account: &AmazonAccount) -> anyhow::Result<Ec2Account> {
        let keys = account.keys.as_ref().map_or("", |keys| &keys.id);
        let role = account.role_arn.as_deref().unwrap_or_default();
        let named = |region: &str| [region, keys, role].join(" ").trim().to_owned();
        if let Some(region) = &account.region
            && let Some(known) = self.accounts.get(&named(region))
        {
            return Ok(known.clone());
        }
        let config = login(account)?.connect().await;
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let name = named(&region);
        let known = self.accounts.entry(name.clone());
        let known = known.or_insert_with(|| {
            let budget = Account::new(AccountConfig::ec2(name));
            Ec2Account::new(&config, budget, Clock::system())
        });
        Ok(known.clone())
    }
}

/// What lists and ends a pool's machines.
pub(super) async fn reaper(pool: &PoolSpec, spec: &AmazonSpec) -> anyhow::Result<Ec2Provider> {
    let config = login(&spec.account)?.connect().await;
    let budget = Account::new(AccountConfig::ec2(""));
    let account = Ec2Account::new(&config, budget, Clock::system());
    Ok(Ec2Provider::new(&account, template(pool, spec)))
}

/// # Errors
/// The environment names a bundle of authorities that is none.
pub(super) fn login(account: &AmazonAccount) -> Result<Login, BundleError> {
    let given = account.keys.as_ref();
    Ok(Login {
        keys: given.map(|given| keys(&given.id, &given.secret, given.session.clone())),
        region: account.region.clone(),
        role: account.role_arn.clone().map(|arn| Role {
            arn,
            external_id: account.external_id.clone(),
        }),
        bundle: CaBundle::of_environment()?,
    })
}

/// All of the template that the file tells.
pub(super) fn template(pool: &PoolSpec, spec: &AmazonSpec) -> Template {
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
