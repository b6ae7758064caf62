//! What a pool's machines are: everything of a launch that does not change
//! from one order to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use vmpool_core::{Market, Place};

use crate::user_data::UserData;

/// One kind of machine, ready to be launched: its image is found, its zones
/// have subnets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The image's id.
    pub image: String,
    /// Types of machine, the preferred one first; at least one.
    pub types: Vec<String>,
    /// Where machines may be. Empty: wherever EC2 puts them, in the default VPC.
    pub zones: Vec<Zone>,
    /// How machines are paid for.
    pub markets: Markets,
    /// Which of several places is taken.
    pub preference: Preference,
    /// What all machines have alike.
    pub machine: Machine,
    /// What a machine does first.
    pub user_data: UserData,
}

/// What all machines of a template have alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its root volume.
    pub disk: Disk,
    /// How it is reached.
    pub network: Network,
    /// The key pair for SSH.
    pub key_pair: Option<String>,
    /// The ARN of its instance profile.
    pub profile: Option<String>,
    /// It can be put to sleep.
    pub hibernate: bool,
    /// The user's own tags; ours come first.
    pub tags: BTreeMap<String, String>,
}

/// A zone and the subnet there; by default wherever EC2 puts it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Zone {
    /// `eu-west-1a`; empty where only the subnet is known.
    pub name: String,
    /// The subnet; `None`: the zone's default one.
    pub subnet: Option<String>,
}

/// How machines are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Markets {
    /// At their price.
    #[default]
    OnDemand,
    /// Spot alone; where there is none, requests wait.
    Spot,
    /// Spot, and on-demand while no place has spot capacity.
    SpotThenOnDemand,
}

impl Markets {
    /// Each market that may be used, in the order of preference.
    pub(crate) fn each(self) -> &'static [Market] {
        match self {
            Self::OnDemand => &[Market::OnDemand],
            Self::Spot => &[Market::Spot],
            Self::SpotThenOnDemand => &[Market::Spot, Market::OnDemand],
        }
    }
}

/// Which of several places is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The first type that can be had.
    #[default]
    Ordered,
    /// The cheapest; on spot, where it is least likely to be taken away too.
    Cheapest,
}

/// A machine's root volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// The image's root device: `/dev/sda1`, `/dev/xvda`.
    pub device: String,
    /// Its size in GiB.
    pub gib: u32,
    /// `gp2`, `gp3`, `io1` …
    pub kind: String,
    /// Where the kind takes it.
    pub iops: Option<u32>,
    /// The key that it is encrypted with; `None`: the account's own for EBS.
    pub kms_key: Option<String>,
    /// The user's own tags of it.
    pub tags: BTreeMap<String, String>,
}

/// How a machine is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Ids of its security groups.
    pub security_groups: Vec<String>,
    /// It gets a public address, and is dialled there.
    pub public_address: bool,
    /// Where its agent listens.
    pub agent_port: u16,
}

/// Where a machine's agent is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    /// At its public address, not the private one.
    pub(crate) public: bool,
    pub(crate) port: u16,
}

impl Network {
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            public: self.public_address,
            port: self.agent_port,
        }
    }
}

impl Template {
    /// All places where its machines can be, in the order of preference.
    pub(crate) fn places(&self) -> Vec<Place> {
        let anywhere = [Zone::default()];
        let zones = if self.zones.is_empty() {
            &anywhere[..]
        } else {
            &self.zones
        };
        let mut places = Vec::new();
        for market in self.markets.each() {
            for machine_type in &self.types {
                places.extend(zones.iter().map(|zone| place(machine_type, zone, *market)));
            }
        }
        places
    }

    /// Its places in `market` are ordered by their prices. Those of on-demand
    /// machines are not in EC2's API.
    pub(crate) fn by_price(&self, market: Market) -> bool {
        market == Market::Spot
            && self.preference == Preference::Cheapest
            && self.markets.each().contains(&market)
    }

    /// Machines of another template have another. Their order, and when it was
    /// made, does not count.
    pub(crate) fn fingerprint(&self) -> String {
        // All of these are written without fail: they hold texts and numbers.
        let parts = serde_json::json!([
            self.image,
            self.types,
            self.zones,
            self.markets,
            self.preference,
            self.machine,
            self.user_data.identity(),
        ]);
        let digest = digest(&SHA256, parts.to_string().as_bytes());
        let hex = digest.as_ref().iter().take(8);
        hex.fold("ec2-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// The zone of that name.
    pub(crate) fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.key() == name)
    }
}

impl Zone {
    /// What names it: subnets of unnamed zones are told apart by themselves.
    pub(crate) fn key(&self) -> &str {
        match &self.subnet {
            Some(subnet) if self.name.is_empty() => subnet,
            _ => &self.name,
        }
    }
}

fn place(machine_type: &str, zone: &Zone, market: Market) -> Place {
    Place {
        machine_type: Arc::from(machine_type),
        zone: Arc::from(zone.key()),
        market,
    }
}
