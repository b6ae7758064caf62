//! Regions, zones, and the default network of an account in one of them.
//!
//! A region's private addresses are loopback addresses (127.1.0.0/16 in the
//! first) unless another first byte is named, so that a machine that is a process of this host can listen on the
//! very address that the API tells. Public addresses are 127.101.0.0/16.

use std::net::Ipv4Addr;

use super::fixed_id;

/// A region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `us-east-1`.
    pub name: String,
    /// The first byte of its addresses: 127, this host alone, unless another is set.
    pub host: u8,
    /// The second byte of its private addresses.
    pub network: u8,
    /// Its zones.
    pub zones: Vec<Zone>,
}

/// An availability zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// `us-east-1a`.
    pub name: String,
    /// `use1-az1`.
    pub id: String,
    /// Its place among the region's zones.
    pub index: u8,
}

/// Addresses a zone's subnet has: a quarter of a /16.
pub(crate) const SUBNET_BITS: u8 = 18;
/// Of those AWS keeps four at the start and one at the end.
pub(crate) const USABLE: u32 = (1 << (32 - SUBNET_BITS)) - 5;

impl Place {
    /// The zone of that name.
    pub fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.name == name)
    }

    /// The zone of a default subnet.
    pub(crate) fn zone_of_subnet(&self, account: &str, subnet: &str) -> Option<&Zone> {
        self.zones
            .iter()
            .find(|zone| self.subnet(account, zone) == subnet)
    }

    /// The id of an account's default VPC.
    pub fn vpc(&self, account: &str) -> String {
        fixed_id("vpc", &[account, &self.name])
    }

    /// The id of an account's default subnet in a zone.
    pub fn subnet(&self, account: &str, zone: &Zone) -> String {
        fixed_id("subnet", &[account, &zone.name])
    }

    /// The id of the default VPC's default security group.
    pub fn default_group(&self, account: &str) -> String {
        fixed_id("sg", &[account, &self.name, "default"])
    }

    /// The VPC's range.
    pub fn cidr(&self) -> String {
        format!("{}.{}.0.0/16", self.host, self.network)
    }

    /// A subnet's range.
    pub fn subnet_cidr(&self, zone: &Zone) -> String {
        let third = zone.index * 64;
        format!("{}.{}.{third}.0/{SUBNET_BITS}", self.host, self.network)
    }

    /// The nth (from 0) usable private address of a zone's subnet.
    pub(crate) fn private_address(&self, zone: &Zone, nth: u32) -> Ipv4Addr {
        let base = u32::from(Ipv4Addr::new(self.host, self.network, zone.index * 64, 0));
        Ipv4Addr::from(base + 4 + nth)
    }

    /// The public address that goes with a private one.
    pub(crate) fn public_address(private: Ipv4Addr) -> Ipv4Addr {
        let [a, b, c, d] = private.octets();
        Ipv4Addr::new(a, b + 100, c, d)
    }
}

pub(super) fn regions() -> Vec<Place> {
    [
        ("us-east-1", "use1"),
        ("us-east-2", "use2"),
        ("us-west-2", "usw2"),
        ("eu-central-1", "euc1"),
        ("eu-west-1", "euw1"),
    ]
    .into_iter()
    .zip(1..)
    .map(|((name, short), network)| Place {
        name: name.to_owned(),
        host: Ipv4Addr::LOCALHOST.octets()[0],
        network,
        zones: ["a", "b", "c"]
            .into_iter()
            .zip(0..)
            .map(|(letter, index)| Zone {
                name: format!("{name}{letter}"),
                id: format!("{short}-az{}", index + 1),
                index,
            })
            .collect(),
    })
    .collect()
}
