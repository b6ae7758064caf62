//! `type: amazon`: machines that are EC2 instances, in the incumbent's keys.
//!
//! Keys that the incumbent reads and ignores (`size_alt`, `market_type`,
//! `vpc_security_group_ids`, `device_name`) have the effect that their names say.

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub(super) use self::read::{platform, spec, usual_platform};

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
    /// Whether machines have Docker.
    pub docker: AmazonPresence,
    /// Whether machines have git.
    pub git: AmazonPresence,
}

/// Whether a machine has a program when it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmazonPresence {
    /// `install`: it is installed where the image lacks it.
    #[default]
    Install,
    /// `require`: a machine whose image lacks it does not get ready.
    Require,
    /// `none`: it does not matter.
    None,
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
