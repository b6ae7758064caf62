//! Where machines come from. A provider only carries out: what is launched,
//! kept and ended is decided by the pool, which writes it down first.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::agent::Bootstrap;
use crate::clock::Timestamp;
use crate::id::{Attempt, DeploymentId, MachineId, OrderId, Owner, PoolName};
use crate::secret::SecretBytes;

/// A source of like machines: one template in one account.
///
/// Implementations keep no books. They may be called from many tasks at once,
/// and every call may be repeated (P9). The pool drops a call that takes too
/// long (a launch its deadline, the others a minute) and makes it again.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What this provider can do; asked once, when a pool starts.
    fn capabilities(&self) -> Capabilities;

    /// Makes the whole request for `draft`: template, user data, tags. Pure,
    /// no I/O. The bytes are sealed and written down before [`Provider::launch`]
    /// sees them, and a replay by any later version gets the same bytes.
    ///
    /// # Errors
    /// [`ErrorKind::BadSpec`] where the template can't be rendered.
    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError>;

    /// Launches the order's machines. The same order and attempt ⇒ the same
    /// machines, however often it is called.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown; the pool replays.
    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome;

    /// All machines that carry `owner`'s tag, in whatever state, of every deployment id.
    ///
    /// # Errors
    /// The listing could not be begun. One that broke off midway is `Ok` with
    /// `complete: false`.
    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError>;

    /// Providers that say the same list the same machines in the same way, so
    /// that one listing serves the pools of all: the address of what they
    /// share, for as long as they live. `None`: like no other.
    fn lists_as(&self) -> Option<usize> {
        None
    }

    /// Ends machines. One that is gone already, or that the provider never
    /// had, is no error.
    ///
    /// # Errors
    /// Some machines may not be ending; the pool calls again.
    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError>;

    /// What the provider can tell of a machine that failed: its last state and
    /// the console's end. Best effort, at most a few kilobytes.
    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        let _ = id;
        None
    }

    /// Writes further tags to a machine, over those of the same names. What
    /// this provider's machines can't carry is left out.
    ///
    /// # Errors
    /// Some may not be there; the same call may be made again.
    async fn tag(
        &self,
        id: &MachineId,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), ProviderError> {
        let _ = (id, tags);
        Ok(())
    }

    /// Where a machine is, as far as the provider was told by what it was asked
    /// before: no call is made. `None`: not known, or there is one place only.
    fn zone(&self, id: &MachineId) -> Option<Arc<str>> {
        let _ = id;
        None
    }

    /// What a machine costs at this moment, in US dollars an hour, as far as the
    /// provider was told before: no call is made. `None`: not known.
    fn dollars_an_hour(&self, id: &MachineId) -> Option<f64> {
        let _ = id;
        None
    }

    /// Puts a machine to sleep. Called only where [`Capabilities::suspend`] is true.
    ///
    /// # Errors
    /// The machine may be awake or asleep; a listing tells.
    async fn suspend(&self, id: &MachineId) -> Result<(), ProviderError> {
        Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("suspend {id}"),
        ))
    }

    /// Wakes a machine that sleeps.
    ///
    /// # Errors
    /// The machine may be awake or asleep; a listing tells.
    async fn resume(&self, id: &MachineId) -> Result<(), ProviderError> {
        Err(ProviderError::new(
            ErrorKind::Unsupported,
            format!("resume {id}"),
        ))
    }
}

/// What a provider can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Most machines one order may ask for.
    pub max_batch: u32,
    /// Machines can sleep.
    pub suspend: bool,
    /// Machines may be taken away at short notice.
    pub spot: bool,
    /// For this long after a launch a listing may not show the machine yet.
    pub consistency_window: Duration,
    /// Fingerprint of the template: machines of another one are of an old spec.
    pub spec: Arc<str>,
    /// Where machines of this template can be, so that the want of them in one
    /// place leaves the others. Empty: the provider has one place, and names none.
    pub places: Vec<Place>,
}

/// Where capacity is had, or is wanting: what a provider's "no capacity" is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The type of machine, in the provider's words.
    pub machine_type: Arc<str>,
    /// The zone; empty where the provider has none.
    pub zone: Arc<str>,
    /// How machines are paid for there.
    pub market: Market,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.machine_type)?;
        if !self.zone.is_empty() {
            write!(f, " in {}", self.zone)?;
        }
        match self.market {
            Market::OnDemand => Ok(()),
            Market::Spot => f.write_str(" (spot)"),
        }
    }
}

/// How a machine is paid for: each market has capacity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Market {
    /// At its price, until we end it.
    OnDemand,
    /// Cheaper, and taken away at short notice.
    Spot,
}

/// What an order shall ask for, before it is rendered.
#[derive(Debug, Clone)]
pub struct OrderDraft<'a> {
    /// How many machines.
    pub count: u32,
    /// What every machine is tagged with, in the call that creates it.
    pub tags: &'a Tags,
    /// What the agent on it starts from.
    pub bootstrap: &'a Bootstrap,
    /// Places of [`Capabilities::places`] that had no capacity lately: left out
    /// of the request, which a replay can't change any more. Never all of them.
    pub avoid: &'a [Place],
    /// The zone that those who wait for these machines asked for. A wish: where
    /// it can't be had, the machines are as good elsewhere.
    pub zone: Option<&'a str>,
}

/// What a machine is tagged with. Nothing here ever changes during its life,
/// so that it can be written in the call that creates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// The deployment's name.
    pub owner: Owner,
    /// The deployment's random id.
    pub deployment: DeploymentId,
    /// The pool it was ordered for.
    pub pool: PoolName,
    /// The order it came from.
    pub order: OrderId,
    /// The order's attempt it came from.
    pub attempt: Attempt,
    /// After this the tag sweep may end it.
    pub expires_at: Timestamp,
}

/// An order as it is launched or replayed.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    /// The order.
    pub id: OrderId,
    /// Its attempt; order and attempt together are the idempotency token.
    pub attempt: Attempt,
    /// How many machines.
    pub count: u32,
    /// What [`Provider::render`] made.
    pub request: SecretBytes,
}

/// What became of a launch. `machines + refused + unknown` is the order's count.
#[derive(Debug, Clone, Default)]
pub struct LaunchOutcome {
    /// Launched for certain.
    pub machines: Vec<Launched>,
    /// Not launched for certain, and why.
    pub refused: Vec<(u32, ProviderError)>,
    /// Neither is known, and why: the answer was lost. The pool replays.
    pub unknown: Option<(u32, ProviderError)>,
}

/// A machine that a launch answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// The provider's id.
    pub id: MachineId,
    /// Where its agent listens, if it is known yet.
    pub address: Option<SocketAddr>,
}

/// What the provider has under our tag.
#[derive(Debug, Clone)]
pub struct Listing {
    /// When the listing's first request was sent.
    pub begun_at: Timestamp,
    /// All pages arrived. An incomplete listing proves no absence.
    pub complete: bool,
    /// What it shows.
    pub machines: Vec<Listed>,
}

/// A machine as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id.
    pub id: MachineId,
    /// Its tags.
    pub tags: Tags,
    /// Its state.
    pub state: ListedState,
    /// Where its agent listens, if it is known.
    pub address: Option<SocketAddr>,
}

/// A machine's state in the provider's words, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListedState {
    /// Starting or running: it costs money.
    Alive,
    /// Asleep.
    Suspended,
    /// On its way out.
    Ending,
    /// The provider's word that it is over: counts at once.
    Terminated,
}

/// What a terminate call answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terminating {
    /// Machines of which the provider said the word `terminated` in its answer.
    pub gone: Vec<MachineId>,
}

/// A provider's failure, classified (P8).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{attempted}: {kind}")]
pub struct ProviderError {
    /// What kind of failure it is: decides what the pool does next.
    pub kind: ErrorKind,
    /// What was attempted and on what: `launch 3 t3.micro in eu-west-1a`.
    pub attempted: String,
    /// Where, if it is a place's failure and not that of all of them.
    pub place: Option<Place>,
    /// What the provider said.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl ProviderError {
    /// A failure of `attempted`.
    pub fn new(kind: ErrorKind, attempted: impl Into<String>) -> Self {
        Self {
            kind,
            attempted: attempted.into(),
            place: None,
            source: None,
        }
    }

    /// The same failure, of one place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same failure with what the provider said.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

/// The kinds of failure a provider can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Too many calls; later, not sooner than `retry_after` if the provider named it.
    Throttled {
        /// The provider's own word on when.
        retry_after: Option<Duration>,
    },
    /// No machine of this shape to be had there now.
    NoCapacity,
    /// The account's own limit is reached.
    Quota,
    /// Not allowed: a person must change a permission.
    Permission,
    /// The template is wrong: the pool stops until it is changed.
    BadSpec,
    /// What was asked about does not exist.
    NotFound,
    /// The provider's or the network's passing fault.
    Transient,
    /// This provider can't do that.
    Unsupported,
    /// None of the above.
    Unknown,
}

impl ErrorKind {
    /// Trying the same again may help: in time, or once a person has given back
    /// a permission or raised a quota.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::BadSpec | Self::Unsupported)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled { .. } => "the provider throttles calls",
            Self::NoCapacity => "the provider has no capacity",
            Self::Quota => "the account's quota is reached",
            Self::Permission => "permission denied",
            Self::BadSpec => "the machine's specification is wrong",
            Self::NotFound => "not found",
            Self::Transient => "a passing fault",
            Self::Unsupported => "not supported by this provider",
            Self::Unknown => "an unclassified failure",
        })
    }
}
