//! What one account has in one region.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::lagged::Lagged;
use super::{Instance, Interface, SpotRequest, Tags, Volume};
use crate::catalog::{Place, fixed_id};
use crate::params::Params;
use crate::throttle::Buckets;

/// Everything, by id. Changing an instance's state is `cloud/lifecycle.rs`.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) instances: BTreeMap<String, Lagged<Arc<Instance>>>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
    pub(crate) spot_requests: BTreeMap<String, SpotRequest>,
    pub(crate) templates: BTreeMap<String, Lagged<Option<Template>>>,
    pub(crate) groups: BTreeMap<String, Lagged<Group>>,
    pub(crate) tokens: BTreeMap<TokenKey, Spent>,
    pub(crate) consoles: BTreeMap<String, Vec<u8>>,
    pub(crate) buckets: Buckets,
}

impl Region {
    /// A region as every account finds it: with the default security group,
    /// which admits its own members.
    pub(crate) fn new(account: &str, place: &Place) -> Self {
        let id = place.default_group(account);
        let default = Group {
            id: id.clone(),
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            vpc: place.vpc(account),
            tags: Tags::new(),
            ingress: vec![GroupRule {
                id: fixed_id("sgr", &[&id]),
                protocol: "-1".to_owned(),
                from_port: None,
                to_port: None,
                source: Source::Group(id.clone()),
                description: None,
            }],
        };
        Self {
            instances: BTreeMap::new(),
            volumes: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            spot_requests: BTreeMap::new(),
            templates: BTreeMap::new(),
            groups: BTreeMap::from([(id, Lagged::new(default, Timestamp::MIN))]),
            tokens: BTreeMap::new(),
            consoles: BTreeMap::new(),
            buckets: Buckets::default(),
        }
    }
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
