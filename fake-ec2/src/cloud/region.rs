//! What one account has in one region.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::lagged::Lagged;
use super::{Instance, Interface, SpotRequest, Tags, Volume};
use crate::params::Params;
use crate::throttle::Buckets;

/// Everything, by id. Changing an instance's state is `cloud/lifecycle.rs`.
#[derive(Debug, Default)]
pub(crate) struct Region {
    pub(crate) instances: BTreeMap<String, Lagged<Instance>>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
    pub(crate) spot_requests: BTreeMap<String, SpotRequest>,
    pub(crate) templates: BTreeMap<String, Lagged<Option<Template>>>,
    pub(crate) groups: BTreeMap<String, Lagged<Group>>,
    pub(crate) tokens: BTreeMap<TokenKey, Spent>,
    pub(crate) consoles: BTreeMap<String, Vec<u8>>,
    pub(crate) buckets: Buckets,
    /// Addresses in use. A public one goes with its private one.
    pub(crate) addresses: BTreeSet<Ipv4Addr>,
}

/// A client token is for one action, and for one zone where the call names
/// one ("Types of idempotency", docs.aws.amazon.com/ec2/latest/devguide/
/// ec2-api-idempotency.html).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    pub(crate) action: &'static str,
    pub(crate) token: String,
    pub(crate) zone: Option<String>,
}

/// What a spent token stands for.
#[derive(Debug, Clone)]
pub(crate) struct Spent {
    pub(crate) params: Params,
    /// The reservation, fleet or template that the call made.
    pub(crate) made: String,
    /// The instances of it.
    pub(crate) instances: Vec<String>,
    /// A fleet's answer, which a retry gets again.
    pub(crate) answer: Option<crate::xml::Element>,
}

/// A launch template with its one version.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
    pub(crate) data: Params,
    pub(crate) tags: Tags,
}

/// A security group that was made.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) vpc: String,
    pub(crate) tags: Tags,
    pub(crate) ingress: Vec<GroupRule>,
}

/// What a group admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupRule {
    pub(crate) id: String,
    pub(crate) protocol: String,
    pub(crate) from_port: Option<i32>,
    pub(crate) to_port: Option<i32>,
    pub(crate) source: Source,
    pub(crate) description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Cidr(String),
    Cidr6(String),
    Group(String),
}
