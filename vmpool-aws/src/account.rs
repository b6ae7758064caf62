//! Whose machines they are: credentials, region, endpoint.
//!
//! Keys of the pool file count first, then the incumbent's environment
//! (`AMAZON_ACCESS_KEY_ID`, `AMAZON_ACCESS_KEY_SECRET`, `AMAZON_SESSION_TOKEN`),
//! then the SDK's own chain: its environment, profiles, a container's or an
//! instance's role. A role that is named is assumed on top of them. The endpoint
//! is the SDK's, so `AWS_ENDPOINT_URL_EC2` sets it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use parking_lot::Mutex;
use vmpool_core::account::{Account, Answer, CallKind, Priority};
use vmpool_core::{Clock, MachineId, Timestamp};

use crate::bundle::CaBundle;
use crate::prices::{Price, Prices};

/// A call that takes longer is made again by whoever needs it.
const CALL: Duration = Duration::from_secs(30);
/// AWS's endpoints are near.
const CONNECT: Duration = Duration::from_secs(5);
/// The name that an assumed role's calls carry in the account's trail.
const SESSION: &str = "vmpool";

/// Between two looks for outdated launch templates.
const REAPS_EVERY: Duration = Duration::from_mins(10);

/// An account in a region, as all of its pools share it: one client, one budget
/// for all calls (P8), one listing of what there is. A handle: clones are the
/// same.
#[derive(Debug, Clone)]
pub struct Ec2Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ec2: Client,
    ssm: aws_sdk_ssm::Client,
    budget: Account,
    clock: Clock,
    /// Unix milliseconds of the next look for outdated launch templates; zero
    /// while no launch has made any.
    reaps_at: AtomicU64,
    prices: Prices,
    /// Where machines are: what launches and listings said.
    seats: Mutex<HashMap<MachineId, Seat>>,
}

/// Where a machine is.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) zone: Arc<str>,
    /// Its type, where it is paid for by the spot market.
    pub(crate) spot: Option<Arc<str>>,
}

impl Ec2Account {
    /// The account that `config` reaches, with `budget` for all calls to it, and
    /// the clock of its pools' journal. Does not call AWS.
    pub fn new(config: &SdkConfig, budget: Account, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            ec2: ec2(config),
            ssm: ssm(config),
            budget,
            clock,
            reaps_at: AtomicU64::new(0),
            prices: Prices::default(),
            seats: Mutex::default(),
        }))
    }

    /// Its EC2. Who calls it by itself waits for a pass of [`Ec2Account::budget`].
    pub fn ec2(&self) -> &Client {
        &self.0.ec2
    }

    /// Its SSM.
    pub fn ssm(&self) -> &aws_sdk_ssm::Client {
        &self.0.ssm
    }

    /// The budget of calls: what its pools' [`PoolParts`](vmpool_core::pool::PoolParts)
    /// are given.
    pub fn budget(&self) -> &Account {
        &self.0.budget
    }

    /// Makes a call that is none of a pool's own, when the budget allows it.
    pub(crate) async fn call<T: Answer>(
        &self,
        priority: Priority,
        call: impl Future<Output = T>,
    ) -> T {
        self.0.budget.call(CallKind::Other, priority, call).await
    }

    /// The zone of a machine, if a launch or a listing has told it.
    pub(crate) fn zone(&self, machine: &MachineId) -> Option<Arc<str>> {
        let seats = self.0.seats.lock();
        seats.get(machine).map(|seat| seat.zone.clone())
    }

    /// What a machine costs at this moment, if it is paid for by the spot market
    /// and that market's prices are read.
    pub(crate) fn price(&self, machine: &MachineId) -> Option<Price> {
        let seats = self.0.seats.lock();
        let seat = seats.get(machine)?;
        let prices = self.0.prices.at(self.0.clock.now()).ok()?;
        prices.at(seat.spot.as_deref()?, &seat.zone)
    }

    /// These machines are there; a complete listing forgets all others.
    pub(crate) fn are_in(
        &self,
        machines: impl Iterator<Item = (MachineId, Seat)>,
        all_there_are: bool,
    ) {
        let mut seats = self.0.seats.lock();
        if all_there_are {
            seats.clear();
        }
        seats.extend(machines);
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// What is known of spot prices.
    pub(crate) fn prices(&self) -> &Prices {
        &self.0.prices
    }

    /// Who has the same shares everything, listings too.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Its launches make launch templates, of which some may be left over.
    pub(crate) fn makes_templates(&self) {
        let at_once = self.0.clock.now().0;
        let never = 0;
        // Another pool has said so before: nothing changes.
        let _ =
            self.0
                .reaps_at
                .compare_exchange(never, at_once, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether outdated launch templates are to be looked for now. Listings
    /// come many a minute, and templates are outdated after an hour: most
    /// times they are not.
    pub(crate) fn reaps_now(&self) -> bool {
        let now = self.0.clock.now();
        let due = self.0.reaps_at.load(Ordering::Relaxed);
        let is_due = due != 0 && Timestamp(due) <= now;
        if is_due {
            let next = now.after(REAPS_EVERY);
            self.0.reaps_at.store(next.0, Ordering::Relaxed);
        }
        is_due
    }
}

/// How an account is reached. What is `None` is found by the SDK.
#[derive(Debug, Clone, Default)]
pub struct Login {
    /// Access keys.
    pub keys: Option<Credentials>,
    /// The region.
    pub region: Option<String>,
    /// A role that is assumed for all calls.
    pub role: Option<Role>,
    /// Authorities that are trusted beside this host's.
    pub bundle: Option<CaBundle>,
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy asks for.
    pub external_id: Option<String>,
}

/// Access keys. Their `Debug` form shows no secret.
pub fn keys(id: &str, secret: &str, session: Option<String>) -> Credentials {
    Credentials::new(id, secret, session, None, "vmpool")
}

/// The keys that the incumbent's environment names.
pub fn keys_of_environment() -> Option<Credentials> {
    let of = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let id = of("AMAZON_ACCESS_KEY_ID")?;
    let secret = of("AMAZON_ACCESS_KEY_SECRET")?;
    Some(keys(&id, &secret, of("AMAZON_SESSION_TOKEN")))
}

/// A client of EC2. The SDK's own retries are off: whoever calls retries, with
/// one budget for the whole account.
pub fn ec2(account: &SdkConfig) -> aws_sdk_ec2::Client {
    let config = aws_sdk_ec2::config::Builder::from(account)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts());
    aws_sdk_ec2::Client::from_conf(config.build())
}

/// A client of SSM, which holds the ids of images.
pub fn ssm(account: &SdkConfig) -> aws_sdk_ssm::Client {
    let config = aws_sdk_ssm::config::Builder::from(account).timeout_config(timeouts());
    aws_sdk_ssm::Client::from_conf(config.build())
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .operation_timeout(CALL)
        .connect_timeout(CONNECT)
        .build()
}

impl Login {
    /// What all clients of the account are made from. Does not call AWS,
    /// but may read files and the instance's metadata.
    pub async fn connect(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(keys) = self.keys.clone().or_else(keys_of_environment) {
            loader = loader.credentials_provider(keys);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(bundle) = &self.bundle {
            loader = loader.http_client(bundle.client());
        }
        let base = loader.load().await;
        let Some(role) = &self.role else {
            return base;
        };
        let mut assumed = AssumeRoleProvider::builder(&role.arn)
            .session_name(SESSION)
            .configure(&base);
        if let Some(id) = &role.external_id {
            assumed = assumed.external_id(id);
        }
        let provider = SharedCredentialsProvider::new(assumed.build().await);
        base.into_builder().credentials_provider(provider).build()
    }
}
