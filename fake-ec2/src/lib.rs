//! An EC2 to test against: the query protocol over HTTP, AWS's documented
//! semantics, its faults at will; for tests, and for trying things without an
//! account.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use fake_ec2::{Capacity, Clock, Config, FakeEc2, Fault, Hollow, Rule};
//!
//! let listen = ([127, 0, 0, 1], 0).into();
//! let fake = FakeEc2::start(Config::default(), Clock::manual(), Arc::new(Hollow), listen).await?;
//! // AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL_SSM and AWS_ENDPOINT_URL_STS:
//! let endpoint = fake.url();
//!
//! // What goes wrong: the next launch works, and nobody hears of it.
//! fake.control().fault(Rule::on("RunInstances", Fault::LoseAnswer).times(1));
//! // There is no hardware in one zone.
//! fake.control().with(|cloud, _| {
//!     let limits = cloud.limits_mut("111122223333");
//!     limits.capacity.push(Capacity::none(None, Some("us-east-1a"), None));
//! });
//! // A minute passes at once.
//! fake.control().advance(Duration::from_secs(60));
//! // What was called, and what a policy would have to allow for it.
//! let needs = fake.control().with(|cloud, _| cloud.record.needs().clone());
//! # let _ = (endpoint, needs);
//! fake.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! [`Cloud`] is a state machine without clock, network or threads: a [`Call`]
//! and the time go in, a [`Reply`] comes out, and all chance comes from one
//! seed. [`FakeEc2`] puts HTTP around it, and one task that lets time happen
//! and tells [`Machines`] which machines to start and to end: none
//! ([`Hollow`]), or processes of this host on the addresses that the API tells
//! ([`Processes`]): our agent, by the very user data ([`AgentGuest`]), or an
//! emulator that boots a disk's image ([`BootedGuest`]). [`Control`]
//! reaches into a running one, as does its own door under `/_fake/` for
//! programs in other languages (`fake-ec2 --help` has examples).
//!
//! # What it keeps to
//!
//! - **Idempotency.** Same token and parameters, same instances; other
//!   parameters, `IdempotentParameterMismatch`; a token is for a zone where the
//!   request names one, so the same token in another zone launches again; when
//!   all that it made is terminated, `IdempotentInstanceTerminated`.
//! - **Eventual consistency** ([`Timing::consistency`]): new ids are unknown to
//!   reads and changes for a while, changed states are seen late, and some
//!   reads are luckier than others.
//! - **Throttling** ([`Config::throttling`]) by AWS's table of request and
//!   resource token buckets, for each account, region and action.
//! - **Shortage** ([`Limits`]): `InsufficientInstanceCapacity` by type, zone and
//!   market; vCPU quotas on demand and for spot; addresses of a subnet. Fleets
//!   launch what there is and tell an error for the rest.
//! - **Batches**: one bad id fails the whole call. Termination protection as it
//!   is documented, zone by zone.
//! - **Spot**: prices by zone, requests with their status, a notice before the
//!   end, one-time requests that can't be stopped.
//! - **Leftovers**: volumes and interfaces that were not to go with their
//!   instance stay, tagged as they were.
//! - **Refusals**: a parameter, filter or value that the fake does not honour is
//!   an error, never ignored.
//! - **Faults** ([`Rule`], [`Fault`]): errors before and after the effect, lost
//!   requests and answers, slow answers, launches that fail, short pages; by
//!   count, by chance, until a time.
//! - **Permissions** ([`Policy`]) by action, `DryRun`, and a [`Record`] of every
//!   call with what it needs.
//!
//! # What it does not do
//!
//! Signatures are not checked; what counts is the access key (see
//! [`Config::identities`]) and the region that they name. IAM's resources and
//! conditions, attribute-based fleets, capacity reservations, template versions
//! beyond the first, IPv6 and more than one network interface are not there.
//! There are no packets: security groups admit nobody and nobody is kept out.
//! Capacity is each account's own.

mod actions;
mod catalog;
mod clock;
mod cloud;
mod error;
mod faults;
mod machines;
mod params;
mod policy;
mod record;
mod server;
mod services;
mod throttle;
mod wildcard;
mod xml;

pub use crate::actions::names as action_names;
pub use crate::catalog::{Architecture, BootMode, Catalog, Image, InstanceType, Place, Zone};
pub use crate::clock::Clock;
pub use crate::cloud::{
    Call, Capacity, Cloud, Config, DEFAULT_ACCOUNT, Delivery, Identity, Instance, Interface,
    Limits, Market, MetadataOptions, Reason, Reply, Role, Span, SpotRequest, State, Tags, Timing,
    Volume,
};
pub use crate::error::ApiError;
pub use crate::faults::{Fault, Faults, Rule};
pub use crate::machines::{
    AgentGuest, Birth, BootedGuest, Cause, Effect, File, Guest, GuestError, Hollow, Machines,
    MetadataService, Processes, UserData, UserDataError,
};
pub use crate::params::Params;
pub use crate::policy::Policy;
pub use crate::record::{CallRecord, Record};
pub use crate::server::{Control, FakeEc2, Lost};
pub use crate::throttle::{Rate, request_rate, resource_rate};
pub use crate::xml::Element;
