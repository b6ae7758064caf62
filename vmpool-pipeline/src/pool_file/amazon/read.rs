//! Reads the `spec` and the `platform` of an amazon pool.

use std::collections::BTreeMap;

use super::{
    AmazonAccount, AmazonDisk, AmazonMarket, AmazonNetwork, AmazonPresence, AmazonSpec,
    AmazonUserData, StaticKeys, ZoneSpec,
};
use crate::diagnostic::quoted;
use crate::fields::{At, Fields, Reader};
use crate::pool_file::PoolPlatform;
use crate::pool_file::keys::{ACCOUNT, AMAZON, DISK, NETWORK, PLATFORM, ZONE};
use crate::pool_file::timing::{Timing, timing};
use crate::yaml::Value;

/// What the incumbent takes a machine for whose file does not say.
pub(in crate::pool_file) fn usual_platform() -> PoolPlatform {
    PoolPlatform {
        os: "linux".into(),
        arch: "amd64".into(),
        os_name: "ubuntu".into(),
    }
}

pub(in crate::pool_file) fn platform(r: &mut Reader, at: &At<'_>) -> Option<PoolPlatform> {
    let fields = r.fields(at, &PLATFORM.keys)?;
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

pub(in crate::pool_file) fn spec(
    r: &mut Reader,
    at: &At<'_>,
    platform: &PoolPlatform,
) -> Option<(Timing, AmazonSpec)> {
    let fields = r.fields(at, &AMAZON.keys)?;
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
        docker: fields.read(r, "docker", presence).unwrap_or_default(),
        git: fields.read(r, "git", presence).unwrap_or_default(),
    };
    Some((timing, spec))
}

/// A text that counts as absent when it is empty, as with the incumbent.
fn text(r: &mut Reader, at: &At<'_>) -> Option<String> {
    r.text(at).filter(|text| !text.is_empty())
}

fn account(r: &mut Reader, at: &At<'_>, zone: &mut Option<String>) -> Option<AmazonAccount> {
    let fields = r.fields(at, &ACCOUNT.keys)?;
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
    if let Value::List(_) = at.node.value {
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

fn presence(r: &mut Reader, at: &At<'_>) -> Option<AmazonPresence> {
    let choice = text(r, at)?;
    match choice.as_str() {
        "install" => Some(AmazonPresence::Install),
        "require" => Some(AmazonPresence::Require),
        "none" => Some(AmazonPresence::None),
        _ => {
            let found = quoted(&choice);
            r.error(
                at,
                format!("expected install, require or none, found {found}"),
            );
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
    // The incumbent reads keys in any case, and its documentation writes this one so.
    let path = fields
        .read(r, "user_data_Path", text)
        .or_else(|| fields.read(r, "user_data_path", text));
    // Text counts above the path, as with the incumbent.
    inline
        .map(AmazonUserData::Text)
        .or_else(|| path.map(|path| AmazonUserData::Path(path.into())))
}

fn disk(r: &mut Reader, at: &At<'_>) -> Option<AmazonDisk> {
    let fields = r.fields(at, &DISK.keys)?;
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
    let fields = r.fields(at, &NETWORK.keys)?;
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
        let Some(fields) = r.fields(&item, &ZONE.keys) else {
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
