//! An instance and what belongs to it: volumes, network interface, spot
//! request.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::in_words;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The states of "Amazon EC2 instance state changes"
/// (docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Being prepared; also while a stopped one starts.
    Pending,
    /// On.
    Running,
    /// Being terminated.
    ShuttingDown,
    /// Gone; listed for about an hour more.
    Terminated,
    /// Being stopped or hibernated.
    Stopping,
    /// Off, and can be started.
    Stopped,
}

impl State {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// As the API numbers it.
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Whether it takes hardware.
    pub fn on_hardware(self) -> bool {
        !matches!(self, Self::Terminated | Self::Stopped)
    }

    /// Whether it counts against a vCPU quota.
    pub fn counted(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// How it is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the list price, until it is ended.
    OnDemand,
    /// Cheap, and reclaimed at need.
    Spot,
}

impl Market {
    /// As the API names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }
}

/// Why an instance is in its state: the documented state reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// `Client.UserInitiatedShutdown`.
    pub code: String,
    /// The sentence behind it.
    pub message: String,
    /// `User initiated (2026-01-01 00:00:00 GMT)`; often empty.
    pub transition: String,
}

impl Reason {
    fn new(code: &str, words: &str, transition: String) -> Self {
        Self {
            code: code.to_owned(),
            message: format!("{code}: {words}"),
            transition,
        }
    }

    pub(crate) fn pending() -> Self {
        Self {
            code: "pending".to_owned(),
            message: "pending".to_owned(),
            transition: String::new(),
        }
    }

    pub(crate) fn user_shutdown(now: Timestamp) -> Self {
        Self::new(
            "Client.UserInitiatedShutdown",
            "User initiated shutdown",
            format!("User initiated ({})", in_words(now)),
        )
    }

    pub(crate) fn user_hibernate(now: Timestamp) -> Self {
        Self::new(
            "Client.UserInitiatedHibernate",
            "User initiated hibernate",
            format!("User initiated ({})", in_words(now)),
        )
    }

    pub(crate) fn from_inside() -> Self {
        Self::new(
            "Client.InstanceInitiatedShutdown",
            "Instance initiated shutdown",
            String::new(),
        )
    }

    pub(crate) fn spot(now: Timestamp) -> Self {
        Self::new(
            "Server.SpotInstanceTermination",
            "Spot instance termination",
            format!("Server.SpotInstanceTermination ({})", in_words(now)),
        )
    }

    pub(crate) fn failed_launch(code: &str) -> Self {
        let words = match code {
            "Client.InternalError" => "Client error on launch",
            "Client.VolumeLimitExceeded" => "Volume limit exceeded",
            _ => "Internal error on launch",
        };
        Self::new(code, words, code.to_owned())
    }
}

/// How an instance's metadata service is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetadataOptions {
    /// `required` or `optional`.
    pub tokens: String,
    /// 1 to 64.
    pub hop_limit: u8,
    /// `enabled` or `disabled`.
    pub endpoint: String,
    /// Whether it tells the instance's tags.
    pub instance_tags: bool,
}

/// One instance.
#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    /// `i-0…`.
    pub id: String,
    /// The launch that made it.
    pub reservation: String,
    /// Its place in that launch.
    pub launch_index: u32,
    /// The image's id.
    pub image: String,
    /// Its type.
    pub instance_type: String,
    /// vCPUs, for quotas.
    pub vcpus: u32,
    /// Its processor's name.
    pub architecture: &'static str,
    /// Whether it runs Windows.
    pub windows: bool,
    /// Its zone.
    pub zone: String,
    /// Its subnet.
    pub subnet: String,
    /// Its VPC.
    pub vpc: String,
    /// Its private address; kept while it is stopped.
    pub private_address: Ipv4Addr,
    /// Its public address.
    pub public_address: Option<Ipv4Addr>,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Its key pair.
    pub key_name: Option<String>,
    /// Its instance profile's ARN.
    pub profile: Option<String>,
    /// How it is paid.
    pub market: Market,
    /// Its spot request.
    pub spot_request: Option<String>,
    /// The token that its launch carried.
    pub client_token: String,
    /// Its state.
    pub state: State,
    /// Why.
    pub reason: Option<Reason>,
    /// When it was launched, or last started.
    pub launched: Timestamp,
    /// Its tags.
    pub tags: Tags,
    /// What its first boot gets; never shown by the API's listings.
    #[serde(skip)]
    pub user_data: Option<Arc<[u8]>>,
    /// The root device's name.
    pub root_device: String,
    /// Its volumes by device.
    pub volumes: BTreeMap<String, String>,
    /// Its network interface.
    pub interface: String,
    /// Whether a shutdown from inside terminates it (else it stops).
    pub shutdown_terminates: bool,
    /// Termination protection.
    pub protected: bool,
    /// Whether it was launched with hibernation.
    pub hibernation: bool,
    /// Whether it is stopped by hibernation.
    pub hibernated: bool,
    /// Its metadata options.
    pub metadata: MetadataOptions,
    /// When the spot notice says that it ends.
    pub reclaim_at: Option<Timestamp>,
    /// The state reason's code with which its launch fails, by a fault.
    #[serde(skip)]
    pub(crate) doomed: Option<String>,
}

/// An EBS volume.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    /// `vol-0…`.
    pub id: String,
    /// GiB.
    pub gib: u32,
    /// `gp3`.
    pub kind: String,
    /// IOPS, where they were asked for.
    pub iops: Option<u32>,
    /// MiB/s, where it was asked for.
    pub throughput: Option<u32>,
    /// Its zone.
    pub zone: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key, where one was named.
    pub kms_key: Option<String>,
    /// The snapshot that it was made from.
    pub snapshot: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// When it was made.
    pub created: Timestamp,
    /// Where it is attached: instance and device.
    pub attached: Option<(String, String)>,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
}

/// A network interface.
#[derive(Debug, Clone, Serialize)]
pub struct Interface {
    /// `eni-0…`.
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// Its VPC.
    pub vpc: String,
    /// Its zone.
    pub zone: String,
    /// Its address.
    pub private_address: Ipv4Addr,
    /// Its public address.
    pub public_address: Option<Ipv4Addr>,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Its description.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
    /// The instance that it is attached to.
    pub attached: Option<String>,
    /// When it was.
    pub attached_at: Timestamp,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
}

/// A spot instance request.
#[derive(Debug, Clone, Serialize)]
pub struct SpotRequest {
    /// `sir-…`.
    pub id: String,
    /// The instance that fulfilled it.
    pub instance: String,
    /// What was launched.
    pub instance_type: String,
    /// With which image.
    pub image: String,
    /// Where.
    pub zone: String,
    /// The highest price, in millionths of a dollar.
    pub max_price: u64,
    /// Whether it comes back after an interruption.
    pub persistent: bool,
    /// `terminate`, `stop` or `hibernate`.
    pub interruption: String,
    /// `active`, `closed`, `cancelled`.
    pub state: &'static str,
    /// The documented status code, `fulfilled`.
    pub status: &'static str,
    /// When the status changed.
    pub updated: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// Its tags.
    pub tags: Tags,
}
