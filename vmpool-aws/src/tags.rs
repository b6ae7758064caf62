//! What tells whose an EC2 machine is: the tags of its instance, volumes and
//! network interfaces, in EC2's form.
//!
//! They are written in the call that creates the machine and never change.
//! `vmpool sweep` and a person in the console have nothing else to go by.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use vmpool_core::{
    Attempt, DeploymentId, MachineId, Market, OrderId, Owner, PoolName, ProviderError, Tags,
    Timestamp,
};

use crate::failure::failed;
use crate::request::Request;
use crate::template::Reach;

/// The deployment's name; listings ask for it.
pub const OWNER: &str = "vmpool:owner";
/// The deployment's random id.
pub const DEPLOYMENT: &str = "vmpool:deployment";
/// The pool.
pub const POOL: &str = "vmpool:pool";
/// The order that the machine came from.
pub const ORDER: &str = "vmpool:order";
/// That order's attempt.
pub const ATTEMPT: &str = "vmpool:attempt";
/// After this moment the sweep may end the machine; Unix milliseconds.
pub const EXPIRES: &str = "vmpool:expires";

/// How its agent is reached: `private:9079`, `public:9079`. A listing serves
/// pools that reach theirs differently.
pub const AGENT: &str = "vmpool:agent";

const PUBLIC: &str = "public";
const PRIVATE: &str = "private";

/// The tags as EC2 takes them, without those of the user.
pub fn pairs(tags: &Tags) -> [(&'static str, String); 6] {
    [
        (OWNER, tags.owner.to_string()),
        (DEPLOYMENT, tags.deployment.to_string()),
        (POOL, tags.pool.to_string()),
        (ORDER, tags.order.to_string()),
        (ATTEMPT, tags.attempt.to_string()),
        (EXPIRES, tags.expires_at.0.to_string()),
    ]
}

/// Adds tags to a machine. Names that are ours or AWS's own are left out: they
/// would change whose the machine is, or fail the call.
pub(crate) async fn add(
    client: &Client,
    id: &MachineId,
    tags: &BTreeMap<String, String>,
) -> Result<(), ProviderError> {
    let may_be = |key: &str| !key.starts_with("vmpool:") && !key.starts_with("aws:");
    let tags = tags.iter().filter(|(key, _)| may_be(key));
    let tags: Vec<_> = tags.map(|(key, value)| tag(key, value)).collect();
    if tags.is_empty() {
        return Ok(());
    }
    let sent = client
        .create_tags()
        .resources(id.as_str())
        .set_tags(Some(tags));
    match sent.send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(format!("tag {id}"), &error)),
    }
}

/// All tags of an order's machines: ours, and the user's.
pub(crate) fn all(request: &Request) -> Vec<Tag> {
    let users = request.machine.tags.iter();
    let users = users.map(|(key, value)| tag(key, value));
    let ours = pairs(&request.tags);
    let reach = request.tags_reach.then(|| {
        let Reach { public, port } = request.machine.network.reach();
        let address = if public { PUBLIC } else { PRIVATE };
        tag(AGENT, &format!("{address}:{port}"))
    });
    ours.iter()
        .map(|(key, value)| tag(key, value))
        .chain(reach)
        .chain(users)
        .collect()
}

/// How the agent of a machine that EC2 shows is reached, if its tags tell.
pub(crate) fn reach(tags: &[Tag]) -> Option<Reach> {
    let tag = tags.iter().find(|tag| tag.key() == Some(AGENT))?;
    let (address, port) = tag.value()?.split_once(':')?;
    let public = match address {
        PUBLIC => true,
        PRIVATE => false,
        _ => return None,
    };
    let port = port.parse().ok()?;
    Some(Reach { public, port })
}

/// The tags of all that a launch creates.
pub(crate) fn specifications(request: &Request) -> Vec<TagSpecification> {
    let with = |kind: ResourceType, tags: Vec<Tag>| {
        TagSpecification::builder()
            .resource_type(kind)
            .set_tags(Some(tags))
            .build()
    };
    let machines = all(request);
    let mut volumes = machines.clone();
    let of_disk = request.machine.disk.tags.iter();
    let of_disk = of_disk.filter(|(key, _)| !request.machine.tags.contains_key(*key));
    volumes.extend(of_disk.map(|(key, value)| tag(key, value)));
    let mut all = vec![
        with(ResourceType::Volume, volumes),
        with(ResourceType::NetworkInterface, machines.clone()),
    ];
    if request.market == Market::Spot {
        all.push(with(ResourceType::SpotInstancesRequest, machines.clone()));
    }
    all.push(with(ResourceType::Instance, machines));
    all
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// The tags of a machine that EC2 shows. `None`: they are not all there, or not ours.
pub fn read(tags: &[Tag]) -> Option<Tags> {
    let value = |key: &str| {
        let tag = tags.iter().find(|tag| tag.key() == Some(key));
        tag.and_then(Tag::value)
    };
    Some(Tags {
        owner: Owner::parse(value(OWNER)?).ok()?,
        deployment: DeploymentId::parse(value(DEPLOYMENT)?).ok()?,
        pool: PoolName::parse(value(POOL)?).ok()?,
        order: OrderId::parse(value(ORDER)?).ok()?,
        attempt: Attempt(value(ATTEMPT)?.parse().ok()?),
        expires_at: Timestamp(value(EXPIRES)?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_back_as_they_were_written() {
        let tags = Tags {
            owner: "ci".into(),
            deployment: "d".into(),
            pool: "linux".into(),
            order: "o".into(),
            attempt: Attempt(3),
            expires_at: Timestamp(1_700_000_000_123),
        };
        let written: Vec<_> = pairs(&tags).iter().map(|(k, v)| tag(k, v)).collect();
        assert_eq!(read(&written), Some(tags));
        assert_eq!(read(&written[1..]), None, "one is missing");
    }

    #[test]
    fn how_an_agent_is_reached_reads_back_and_anything_else_does_not() {
        let public = reach(&[tag(AGENT, "public:9079")]);
        let expected = Reach {
            public: true,
            port: 9079,
        };
        assert_eq!(public, Some(expected));
        for strange in ["public", "nowhere:9079", "private:99999"] {
            assert_eq!(reach(&[tag(AGENT, strange)]), None, "{strange}");
        }
    }

    #[test]
    fn what_somebody_wrote_by_hand_is_not_ours() {
        let strange = [
            tag(OWNER, "ci"),
            tag(ATTEMPT, "first"),
            tag(EXPIRES, "never"),
        ];
        assert_eq!(read(&strange), None);
    }
}
