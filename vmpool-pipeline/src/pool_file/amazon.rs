//! `type: amazon`: machines that are EC2 instances, in the incumbent's keys.
//!
//! Keys that the incumbent reads and ignores (`size_alt`, `market_type`,
//! `vpc_security_group_ids`, `device_name`) have the effect that their names say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::timing::{TIMING, Timing, timing};
use super::{PLATFORM, PoolPlatform};
use crate::diagnostic::quoted;
use crate::fields::{At, Fields, Reader};
use crate::keys::Keys;

const AMAZON: Keys = Keys {
    known: &[
        "account",
        "ami",
        "ami_owners",
        "size",
        "size_alt",
        "prefer",
        "market_type",
        "vpc",
        "tags",
        "user_data",
        "user_data_Path",
        "disk",
        "network",
        "zone_details",
        "device_name",
        "iam_profile_arn",
        "hibernate",
        TIMING[0],
        TIMING[1],
        TIMING[2],
    ],
    own: &[],
    ignored: &["name", "type", "root_directory", "user", "enable_c4d"],
};
const ACCOUNT: Keys = Keys {
    known: &[
        "access_key_id",
        "access_key_secret",
        "aws_session_token",
        "region",
        "availability_zone",
        "key_pair_name",
        "role_arn",
        "external_id",
    ],
    own: &[],
    // Calls are retried within one budget for the whole account.
    ignored: &["retries"],
};
const DISK: Keys = Keys {
    known: &["size", "type", "iops", "kms_key_id", "tags"],
    own: &[],
    ignored: &[],
};
const NETWORK: Keys = Keys {
    known: &[
        "security_groups",
        "vpc_security_group_ids",
        "allow_from",
        "subnet_id",
        "private_ip",
        "zone_details",
    ],
    own: &[],
    ignored: &[],
};
const ZONE: Keys = Keys {
    known: &["availability_zone", "subnet_id"],
    own: &[],
    ignored: &[],
};

/// The `spec` of `type: amazon`. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmazonSpec {
    /// Whose machines they are.
    pub account: AmazonAccount,
    /// Their image: an id, a name, or `resolve:ssm:PARAMETER`.
    pub ami: String,
    /// Whose images count where a name is given.
    pub ami_owners: Vec<String>,
    /// Types of machine, the preferred one first; at least one.
    pub sizes: Vec<String>,
    /// The cheapest type that can be had, instead of the first.
    pub cheapest: bool,
    /// How machines are paid for.
    pub market: AmazonMarket,
    /// The VPC of a security group that is made for them.
    pub vpc: Option<String>,
    /// Tags of the machines and all that belongs to them.
    pub tags: BTreeMap<String, String>,
    /// The operator's own start-up template.
    pub user_data: Option<AmazonUserData>,
    /// The root volume.
    pub disk: AmazonDisk,
    /// How machines are reached.
    pub network: AmazonNetwork,
    /// The root device; `None`: the image's.
    pub device_name: Option<String>,
    /// The ARN of their instance profile.
    pub instance_profile: Option<String>,
    /// Machines can be put to sleep.
    pub hibernate: bool,
}

/// An account, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AmazonAccount {
    /// Keys that stand in the file.
    pub keys: Option<StaticKeys>,
    /// The region.
    pub region: Option<String>,
    /// The key pair for SSH.
    pub key_pair: Option<String>,
    /// A role that is assumed for all calls.
    pub role_arn: Option<String>,
    /// What that role asks for.
    pub external_id: Option<String>,
}

/// Access keys. Their `Debug` form shows the id alone.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticKeys {
    /// The key's id.
    pub id: String,
    /// The secret key.
    pub secret: String,
    /// The token of a session.
    pub session: Option<String>,
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKeys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How machines are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmazonMarket {
    /// `on-demand`
    #[default]
    OnDemand,
    /// `spot`: spot while there is some, else on-demand.
    SpotThenOnDemand,
    /// `spot-only`
    Spot,
}

/// A start-up template of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AmazonUserData {
    /// It stands in the pool file.
    Text(String),
    /// It is in a file.
    Path(PathBuf),
}

/// A root volume. What is `None` has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AmazonDisk {
    /// Its size in GiB.
    pub gib: Option<u32>,
    /// `gp2`, `gp3`, `io1` …
    pub kind: Option<String>,
    /// Where the kind takes it.
    pub iops: Option<u32>,
    /// The key that it is encrypted with.
    pub kms_key: Option<String>,
    /// Tags of its own.
    pub tags: BTreeMap<String, String>,
}

/// How machines are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AmazonNetwork {
    /// Ids of security groups; none: one is made.
    pub security_groups: Vec<String>,
    /// Address ranges that a made group admits.
    pub allow_from: Vec<String>,
    /// Machines get no public address.
    pub private: bool,
    /// Where machines may be; empty: wherever EC2 puts them.
    pub zones: Vec<ZoneSpec>,
}

/// A zone and the subnet there; one of them is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSpec {
    /// `eu-west-1a`
    pub name: Option<String>,
    /// The subnet's id.
    pub subnet: Option<String>,
}

/// What the incumbent takes a machine for whose file does not say.
pub(super) fn usual_platform() -> PoolPlatform {
    PoolPlatform {
        os: "linux".into(),
        arch: "amd64".into(),
        os_name: "ubuntu".into(),
    }
}

pub(super) fn platform(r: &mut Reader, at: &At<'_>) -> Option<PoolPlatform> {
    let fields = r.fields(at, &PLATFORM)?;
    let mut platform = usual_platform();
    let choices: [(&str, &[&str], &mut String); 3] = [
        ("os", &["linux"], &mut platform.os),
        ("arch", &["amd64", "arm64"], &mut platform.arch),
        (
            "os_name",
            &["ubuntu", "amazon-linux", "debian"],
            &mut platform.os_name,
        ),
    ];
    for (key, choice, value) in choices {
        if let Some(at) = fields.get(key)
            && let Some(text) = r.name(&at)
        {
            if choice.contains(&text.as_str()) {
                *value = text;
            } else {
                // The incumbent's words.
                let choice = choice.join("/");
                r.error(&at, format!("invalid {key} {text}, has to be '{choice}'"));
            }
        }
    }
    for key in ["variant", "version"] {
        fields.read(r, key, |r, at| r.text(at));
    }
    Some(platform)
}

pub(super) fn spec(
    r: &mut Reader,
    at: &At<'_>,
    platform: &PoolPlatform,
) -> Option<(Timing, AmazonSpec)> {
    let fields = r.fields(at, &AMAZON)?;
    let timing = timing(r, &fields);
    let mut zone = None;
    let account = fields.read(r, "account", |r, at| account(r, at, &mut zone));
    let ami = fields.require(r, "ami", Reader::text);
    let network = fields.read(r, "network", |r, at| network(r, at, zone.clone()));
    let mut network = network.unwrap_or_else(|| AmazonNetwork {
        zones: zone_of(zone, None),
        ..AmazonNetwork::default()
    });
    if let Some(zones) = fields.read(r, "zone_details", zones) {
        network.zones = zones;
    }
    let spec = AmazonSpec {
        account: account.unwrap_or_default(),
        ami: ami?,
        ami_owners: fields
            .read(r, "ami_owners", Reader::texts)
            .unwrap_or_default(),
        sizes: sizes(r, &fields, platform),
        cheapest: fields.read(r, "prefer", prefer).unwrap_or(false),
        market: fields.read(r, "market_type", market).unwrap_or_default(),
        vpc: fields.read(r, "vpc", text),
        tags: fields.read(r, "tags", tags).unwrap_or_default(),
        user_data: user_data(r, &fields),
        disk: fields.read(r, "disk", disk).unwrap_or_default(),
        network,
        device_name: fields.read(r, "device_name", text),
        instance_profile: fields.read(r, "iam_profile_arn", text),
        hibernate: fields.read(r, "hibernate", Reader::flag).unwrap_or(false),
    };
    Some((timing, spec))
}

/// A text that counts as absent when it is empty, as with the incumbent.
fn text(r: &mut Reader, at: &At<'_>) -> Option<String> {
    r.text(at).filter(|text| !text.is_empty())
}

fn account(r: &mut Reader, at: &At<'_>, zone: &mut Option<String>) -> Option<AmazonAccount> {
    let fields = r.fields(at, &ACCOUNT)?;
    *zone = fields.read(r, "availability_zone", text);
    let id = fields.read(r, "access_key_id", text);
    let secret = fields.read(r, "access_key_secret", text);
    let session = fields.read(r, "aws_session_token", text);
    let keys = match (id, secret) {
        (Some(id), Some(secret)) => Some(StaticKeys {
            id,
            secret,
            session,
        }),
        (None, None) => None,
        _ => {
            let both = "access_key_id and access_key_secret are needed together";
            r.error(at, both);
            None
        }
    };
    Some(AmazonAccount {
        keys,
        region: fields.read(r, "region", text),
        key_pair: fields.read(r, "key_pair_name", text),
        role_arn: fields.read(r, "role_arn", text),
        external_id: fields.read(r, "external_id", text),
    })
}

/// `size`, then `size_alt`: each a text, or a list of them.
fn sizes(r: &mut Reader, fields: &Fields<'_>, platform: &PoolPlatform) -> Vec<String> {
    let mut sizes = Vec::new();
    for key in ["size", "size_alt"] {
        let named = fields.read(r, key, texts).unwrap_or_default();
        sizes.extend(named.into_iter().filter(|size| !size.is_empty()));
    }
    if sizes.is_empty() {
        // The incumbent's choice.
        let usual = match platform.arch.as_str() {
            "arm64" => "a1.medium",
            _ => "t3.nano",
        };
        sizes.push(usual.into());
    }
    sizes
}

/// One text, or a list of them.
fn texts(r: &mut Reader, at: &At<'_>) -> Option<Vec<String>> {
    if let crate::yaml::Value::List(_) = at.node.value {
        r.texts(at)
    } else {
        r.text(at).map(|text| vec![text])
    }
}

fn prefer(r: &mut Reader, at: &At<'_>) -> Option<bool> {
    let choice = r.text(at)?;
    match choice.as_str() {
        "first" => Some(false),
        "cheapest" => Some(true),
        _ => {
            let found = quoted(&choice);
            r.error(at, format!("expected first or cheapest, found {found}"));
            None
        }
    }
}

fn market(r: &mut Reader, at: &At<'_>) -> Option<AmazonMarket> {
    let choice = text(r, at)?;
    match choice.as_str() {
        "on-demand" | "on_demand" => Some(AmazonMarket::OnDemand),
        "spot" => Some(AmazonMarket::SpotThenOnDemand),
        "spot-only" | "spot_only" => Some(AmazonMarket::Spot),
        _ => {
            let found = quoted(&choice);
            let choices = "on-demand, spot or spot-only";
            r.error(at, format!("expected {choices}, found {found}"));
            None
        }
    }
}

fn tags(r: &mut Reader, at: &At<'_>) -> Option<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for (entry, at) in r.entries(at, "a map of tags")? {
        // EC2's own limits, told here rather than at the first launch.
        if entry.key.starts_with("aws:") || entry.key.starts_with("vmpool:") {
            r.error(&at, "tags that begin so are not the user's");
        } else if entry.key.len() > 128 {
            r.error(&at, "a tag's name has at most 128 characters");
        }
        if let Some(value) = r.text(&at) {
            if value.len() > 256 {
                r.error(&at, "a tag has at most 256 characters");
            }
            tags.insert(entry.key.clone(), value);
        }
    }
    Some(tags)
}

fn user_data(r: &mut Reader, fields: &Fields<'_>) -> Option<AmazonUserData> {
    let inline = fields.read(r, "user_data", text);
    let path = fields.read(r, "user_data_Path", text);
    // Text counts above the path, as with the incumbent.
    inline
        .map(AmazonUserData::Text)
        .or_else(|| path.map(|path| AmazonUserData::Path(path.into())))
}

fn disk(r: &mut Reader, at: &At<'_>) -> Option<AmazonDisk> {
    let fields = r.fields(at, &DISK)?;
    let number = |r: &mut Reader, at: &At<'_>| r.number(at).filter(|number| *number > 0);
    Some(AmazonDisk {
        gib: fields.read(r, "size", number),
        kind: fields.read(r, "type", text),
        iops: fields.read(r, "iops", number),
        kms_key: fields.read(r, "kms_key_id", text),
        tags: fields.read(r, "tags", tags).unwrap_or_default(),
    })
}

fn network(r: &mut Reader, at: &At<'_>, zone: Option<String>) -> Option<AmazonNetwork> {
    let fields = r.fields(at, &NETWORK)?;
    let mut security_groups = Vec::new();
    for key in ["security_groups", "vpc_security_group_ids"] {
        for id in fields.read(r, key, texts).unwrap_or_default() {
            if !security_groups.contains(&id) {
                security_groups.push(id);
            }
        }
    }
    let subnet = fields.read(r, "subnet_id", text);
    let zones = fields.read(r, "zone_details", zones);
    Some(AmazonNetwork {
        security_groups,
        allow_from: fields.read(r, "allow_from", texts).unwrap_or_default(),
        private: fields.read(r, "private_ip", Reader::flag).unwrap_or(false),
        zones: zones.unwrap_or_else(|| zone_of(zone, subnet)),
    })
}

/// The one zone of the older keys.
fn zone_of(name: Option<String>, subnet: Option<String>) -> Vec<ZoneSpec> {
    let given = name.is_some() || subnet.is_some();
    given
        .then_some(ZoneSpec { name, subnet })
        .into_iter()
        .collect()
}

fn zones(r: &mut Reader, at: &At<'_>) -> Option<Vec<ZoneSpec>> {
    let items = r.items(at, "a list of zones")?;
    let mut zones: Vec<ZoneSpec> = Vec::new();
    for item in items {
        let Some(fields) = r.fields(&item, &ZONE) else {
            continue;
        };
        let zone = ZoneSpec {
            name: fields.read(r, "availability_zone", text),
            subnet: fields.read(r, "subnet_id", text),
        };
        if zone.name.is_none() && zone.subnet.is_none() {
            r.error(
                &item,
                "a zone has an availability_zone, a subnet_id, or both",
            );
        } else if zones.contains(&zone) {
            r.warn(&item, "this zone is there twice");
        } else {
            zones.push(zone);
        }
    }
    Some(zones)
}
