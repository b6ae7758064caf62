//! The cloud as a state machine: a call and the time go in, an answer comes
//! out; no clock, no network, all chance from one seed.
//!
//! What is due by the time of a call has happened before it.

mod agenda;
mod apply;
mod config;
mod context;
mod instance;
mod lagged;
mod lifecycle;
mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use self::agenda::Agenda;
use crate::error::ApiError;
use crate::faults::Faults;
use crate::machines::Effect;
use crate::params::Params;
use crate::policy::Policy;
use crate::record::Record;
use crate::xml::Element;

pub use self::config::{Capacity, Config, DEFAULT_ACCOUNT, Identity, Limits, Role, Span, Timing};
pub(crate) use self::context::{Context, check_id};
pub use self::instance::{
    Instance, Interface, Market, MetadataOptions, Reason, SpotRequest, State, Tags, Volume,
};
pub(crate) use self::lagged::Lagged;
pub(crate) use self::lifecycle::Planned;
pub(crate) use self::region::{Group, GroupRule, Region, Source, Spent, Template, TokenKey};

/// A call as it arrives.
#[derive(Debug, Clone)]
pub struct Call {
    /// The access key that signed it.
    pub access_key: String,
    /// The region that it was signed for.
    pub region: String,
    /// Its parameters, `Action` among them.
    pub params: Params,
}

/// What becomes of a call.
#[derive(Debug)]
pub struct Reply<T = Element> {
    /// The answer (of EC2: its root element), or the refusal.
    pub result: Result<T, ApiError>,
    /// What happens to the answer on its way.
    pub delivery: Delivery,
    /// The request's id.
    pub request_id: String,
}

/// What happens to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It arrives.
    Answered,
    /// It arrives so many milliseconds late.
    Late(u64),
    /// The connection breaks.
    Lost,
}

/// Every account and region of the fake, and what is wrong with them.
#[derive(Debug)]
pub struct Cloud {
    config: Config,
    rng: Rng,
    regions: BTreeMap<(String, String), Region>,
    limits: BTreeMap<String, Limits>,
    agenda: Agenda,
    effects: Vec<Effect>,
    addresses: BTreeSet<Ipv4Addr>,
    /// What goes wrong. Free to change at any time.
    pub faults: Faults,
    /// What was called. Free to read and clear at any time.
    pub record: Record,
}

impl Cloud {
    /// A cloud without instances.
    pub fn new(config: Config) -> Self {
        Self {
            rng: Rng::with_seed(config.seed),
            config,
            regions: BTreeMap::new(),
            limits: BTreeMap::new(),
            agenda: Agenda::default(),
            effects: Vec::new(),
            addresses: BTreeSet::new(),
            faults: Faults::default(),
            record: Record::default(),
        }
    }

    /// How it was set up; what is changed here counts from the next call.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// How it is set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What an account may have; changes count from the next call.
    pub fn limits_mut(&mut self, account: &str) -> &mut Limits {
        let default = &self.config.limits;
        self.limits
            .entry(account.to_owned())
            .or_insert_with(|| default.clone())
    }

    /// Sets what the principal of an access key may do.
    pub fn set_policy(&mut self, access_key: &str, policy: Policy) {
        let identity = self.identity(access_key);
        self.config
            .identities
            .insert(access_key.to_owned(), Identity { policy, ..identity });
    }

    /// Who an access key is.
    pub fn identity(&self, access_key: &str) -> Identity {
        if let Some(identity) = self.config.identities.get(access_key) {
            return identity.clone();
        }
        let names_account =
            access_key.len() == 12 && access_key.bytes().all(|digit| digit.is_ascii_digit());
        let account = if names_account {
            access_key
        } else {
            DEFAULT_ACCOUNT
        };
        Identity {
            account: account.to_owned(),
            arn: format!("arn:aws:iam::{account}:root"),
            policy: Policy::default(),
            revoked: false,
        }
    }

    /// Lets everything happen that is due by now.
    pub fn run_until(&mut self, now: Timestamp) {
        while let Some((at, due)) = self.agenda.pop(now) {
            self.with(&due.account, &due.region, at, |context| {
                context.happen(&due.instance, due.what);
            });
        }
    }

    /// When the next thing is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.agenda.next_at()
    }

    /// What is to be done to machines since it was last asked.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The spot market reclaims an instance, with its notice before; not one
    /// that is not spot.
    pub fn reclaim(&mut self, now: Timestamp, instance: &str, notice: Option<std::time::Duration>) {
        let notice = notice.unwrap_or(self.config.timing.notice);
        let notice = SignedDuration::try_from(notice).unwrap_or(SignedDuration::MAX);
        self.with_instance(now, instance, |context| context.reclaim(instance, notice));
        self.run_until(now);
    }

    /// Somebody terminates an instance from the console.
    pub fn console_terminate(&mut self, now: Timestamp, instance: &str) {
        self.with_instance(now, instance, |context| {
            context.terminate(instance, Reason::user_shutdown(now));
        });
        self.run_until(now);
    }

    /// An instance's guest powered itself off.
    pub fn powered_off(&mut self, now: Timestamp, instance: &str) {
        self.with_instance(now, instance, |context| context.powered_off(instance));
        self.run_until(now);
    }

    /// An instance's guest printed something.
    pub fn print(&mut self, now: Timestamp, instance: &str, text: &[u8]) {
        self.with_instance(now, instance, |context| context.console(instance, text));
    }

    /// What an instance's guest printed, the last 64 KB of it.
    pub fn printed(&self, instance: &str) -> &[u8] {
        let mut regions = self.regions.values();
        let printed = regions.find_map(|here| here.consoles.get(instance));
        printed.map_or(&[], Vec::as_slice)
    }

    /// All instances as they truly are, with account and region.
    pub fn instances(&self) -> impl Iterator<Item = (&str, &str, &Instance)> {
        self.regions.iter().flat_map(|((account, region), here)| {
            here.instances.values().map(move |instance| {
                let instance: &Instance = instance.current();
                (account.as_str(), region.as_str(), instance)
            })
        })
    }

    /// All volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.regions.values().flat_map(|here| here.volumes.values())
    }

    /// All network interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.regions
            .values()
            .flat_map(|here| here.interfaces.values())
    }

    /// All spot requests.
    pub fn spot_requests(&self) -> impl Iterator<Item = &SpotRequest> {
        self.regions
            .values()
            .flat_map(|here| here.spot_requests.values())
    }

    /// The names of all launch templates.
    pub fn templates(&self) -> BTreeSet<&str> {
        self.regions
            .values()
            .flat_map(|here| here.templates.values())
            .filter_map(|template| Some(template.current().as_ref()?.name.as_str()))
            .collect()
    }

    /// A new request's id, as AWS writes them.
    fn uuid(&mut self) -> String {
        uuid(&mut self.rng)
    }

    /// Chance for the other services.
    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn with_instance(&mut self, now: Timestamp, id: &str, what: impl FnOnce(&mut Context<'_>)) {
        self.run_until(now);
        let place = self
            .regions
            .iter()
            .find(|(_, here)| here.instances.contains_key(id))
            .map(|(place, _)| place.clone());
        if let Some((account, region)) = place {
            self.with(&account, &region, now, what);
        }
    }

    /// Works in one region of one account; nothing where there is no such
    /// region.
    fn with<T>(
        &mut self,
        account: &str,
        region: &str,
        now: Timestamp,
        what: impl FnOnce(&mut Context<'_>) -> T,
    ) -> Option<T> {
        let place = self.config.catalog.region(region)?;
        let here = self
            .regions
            .entry((account.to_owned(), region.to_owned()))
            .or_insert_with(|| Region::new(account, place));
        Some(what(&mut Context {
            now,
            account,
            principal: String::new(),
            place,
            catalog: &self.config.catalog,
            timing: &self.config.timing,
            limits: self.limits.get(account).unwrap_or(&self.config.limits),
            region: here,
            addresses: &mut self.addresses,
            agenda: &mut self.agenda,
            effects: &mut self.effects,
            rng: &mut self.rng,
            fault: None,
        }))
    }
}

/// 36 characters, as request and fleet ids have them.
pub(crate) fn uuid(rng: &mut Rng) -> String {
    let bits = rng.u128(..);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xffff,
        bits >> 48 & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}
