//! How a cloud is set up, and what a test may change while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Market;
use crate::catalog::Catalog;
use crate::policy::Policy;

/// The account of access keys that say nothing about one.
pub const DEFAULT_ACCOUNT: &str = "111122223333";

/// A cloud's beginning.
#[derive(Debug, Clone)]
pub struct Config {
    /// All chance comes from it: ids, times, faults.
    pub seed: u64,
    /// The world.
    pub catalog: Catalog,
    /// How long things take.
    pub timing: Timing,
    /// Whether calls cost tokens, by AWS's table.
    pub throttling: bool,
    /// What each account may have, unless changed.
    pub limits: Limits,
    /// Who signs with which access key. A key that is not here is the root of
    /// the account that it names (twelve digits), else of
    /// [`DEFAULT_ACCOUNT`].
    pub identities: BTreeMap<String, Identity>,
    /// Roles that may be assumed; where there are none every role may, and it
    /// may do everything.
    pub roles: BTreeMap<String, Role>,
    /// SSM parameters beside the public ones of the catalog's images.
    pub parameters: BTreeMap<String, String>,
}

impl Default for Config {
    /// Instant, without throttling, with seed 0.
    fn default() -> Self {
        Self {
            seed: 0,
            catalog: Catalog::default(),
            timing: Timing::instant(),
            throttling: false,
            limits: Limits::default(),
            identities: BTreeMap::new(),
            roles: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }
}

/// Who an access key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The account.
    pub account: String,
    /// The principal's ARN.
    pub arn: String,
    /// What it may do.
    #[serde(default)]
    pub policy: Policy,
    /// A revoked key is answered by `AuthFailure`.
    #[serde(default)]
    pub revoked: bool,
}

/// A role, by its ARN.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// What it may do.
    pub policy: Policy,
    /// What one has to know to assume it.
    pub external_id: Option<String>,
}

/// A time between two bounds, drawn anew at each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub least: Duration,
    /// At most.
    pub most: Duration,
}

impl Span {
    /// No time.
    pub const ZERO: Self = Self::exactly(Duration::ZERO);

    /// Always the same time.
    pub const fn exactly(time: Duration) -> Self {
        Self {
            least: time,
            most: time,
        }
    }

    /// Between two times.
    pub const fn between(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }

    pub(crate) fn after(self, now: Timestamp, rng: &mut Rng) -> Timestamp {
        now + SignedDuration::try_from(self.draw(rng)).unwrap_or(SignedDuration::MAX)
    }

    fn draw(self, rng: &mut Rng) -> Duration {
        let spread = self.most.saturating_sub(self.least);
        if spread.is_zero() {
            return self.least;
        }
        self.least + spread.mul_f64(rng.f64())
    }
}

/// How long things take.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// How long a change stays unseen by reads.
    pub consistency: Span,
    /// The chance that a read within that time sees the change all the same.
    pub lucky: f64,
    /// From the launch until `running`.
    pub pending: Span,
    /// From the call until `terminated`.
    pub shutting_down: Span,
    /// From the call until `stopped`.
    pub stopping: Span,
    /// How long a terminated instance is listed.
    pub terminated_visible: Duration,
    /// How long it has its tags: "resources such as tags and volumes are
    /// gradually disassociated from the instance" (docs.aws.amazon.com/AWSEC2/
    /// latest/UserGuide/terminating-instances.html). A listing by tag has it no
    /// longer then.
    pub terminated_tagged: Duration,
    /// From the spot notice until the end.
    pub notice: Duration,
    /// How long after `running` an instance can't be hibernated yet.
    pub hibernation_from: Duration,
}

impl Timing {
    /// Every change is seen, and over, at the next call.
    pub fn instant() -> Self {
        Self {
            consistency: Span::ZERO,
            lucky: 0.0,
            pending: Span::ZERO,
            shutting_down: Span::ZERO,
            stopping: Span::ZERO,
            terminated_visible: Duration::from_secs(3600),
            terminated_tagged: Duration::from_secs(3600),
            notice: Duration::from_secs(120),
            hibernation_from: Duration::ZERO,
        }
    }

    /// Near what AWS takes for Linux.
    pub fn real() -> Self {
        let secs = Duration::from_secs;
        Self {
            consistency: Span::between(Duration::ZERO, secs(3)),
            lucky: 0.3,
            pending: Span::between(secs(4), secs(15)),
            shutting_down: Span::between(secs(5), secs(40)),
            stopping: Span::between(secs(10), secs(40)),
            hibernation_from: secs(60),
            terminated_tagged: secs(600),
            ..Self::instant()
        }
    }
}

/// What an account may have, in each of its regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// vCPUs on demand (quota L-1216C47A).
    pub on_demand_vcpus: u32,
    /// vCPUs by spot (quota L-34B43A08).
    pub spot_vcpus: u32,
    /// Where hardware is short. Every rule that fits must have room.
    pub capacity: Vec<Capacity>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            on_demand_vcpus: 1_000_000,
            spot_vcpus: 1_000_000,
            capacity: Vec::new(),
        }
    }
}

/// A shortage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// The type; absent: any.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// The zone; absent: any.
    #[serde(default)]
    pub zone: Option<String>,
    /// The market; absent: both.
    #[serde(default)]
    pub market: Option<Market>,
    /// How many fitting machines there may be at once, all together.
    pub most: u32,
}

impl Capacity {
    /// None of these at all.
    pub fn none(instance_type: Option<&str>, zone: Option<&str>, market: Option<Market>) -> Self {
        Self {
            instance_type: instance_type.map(str::to_owned),
            zone: zone.map(str::to_owned),
            market,
            most: 0,
        }
    }

    pub(crate) fn fits(&self, instance_type: &str, zone: &str, market: Market) -> bool {
        self.instance_type
            .as_deref()
            .is_none_or(|only| only == instance_type)
            && self.zone.as_deref().is_none_or(|only| only == zone)
            && self.market.is_none_or(|only| only == market)
    }
}
