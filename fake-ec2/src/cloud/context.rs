//! What an action works with: one account in one region, at one time.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;

use super::agenda::Agenda;
use super::lagged::Lagged;
use super::region::Region;
use super::{Instance, Limits, Timing};
use crate::catalog::{Catalog, Place};
use crate::error::ApiError;
use crate::faults::Fault;
use crate::machines::Effect;

pub(crate) struct Context<'a> {
    pub(crate) now: Timestamp,
    pub(crate) account: &'a str,
    pub(crate) principal: String,
    pub(crate) place: &'a Place,
    pub(crate) catalog: &'a Catalog,
    pub(crate) timing: &'a Timing,
    pub(crate) limits: &'a Limits,
    pub(crate) region: &'a mut Region,
    /// Private addresses in use by any account: machines of all of them may
    /// listen on one host.
    pub(crate) addresses: &'a mut BTreeSet<Ipv4Addr>,
    pub(crate) agenda: &'a mut Agenda,
    pub(crate) effects: &'a mut Vec<Effect>,
    pub(crate) rng: &'a mut Rng,
    pub(crate) fault: Option<Fault>,
}

impl Context<'_> {
    /// A new identifier, `i-0` and 16 hexadecimal digits.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.rng.u64(..))
    }

    /// When readers will see what changes now.
    pub(crate) fn seen_from(&mut self) -> Timestamp {
        self.timing.consistency.after(self.now, self.rng)
    }

    /// What this reader sees of something.
    pub(crate) fn look<'v, T: Clone>(&mut self, value: &'v Lagged<T>) -> Option<&'v T> {
        look(self.now, self.timing, self.rng, value)
    }

    /// Changes an instance that is there.
    pub(crate) fn change(&mut self, id: &str, with: impl FnOnce(&mut Instance)) {
        let seen_from = self.seen_from();
        if let Some(instance) = self.region.instances.get_mut(id) {
            instance.change(self.now, seen_from, |instance| {
                with(Arc::make_mut(instance));
            });
        }
    }

    /// Of the instances that this reader sees those that pass, by id.
    pub(crate) fn visible_instances(
        &mut self,
        passes: impl Fn(&Instance) -> bool,
    ) -> Vec<Arc<Instance>> {
        let Self {
            now,
            timing,
            region,
            rng,
            ..
        } = self;
        region
            .instances
            .values()
            .filter_map(|instance| look(*now, timing, rng, instance))
            .filter(|instance| passes(instance))
            .cloned()
            .collect()
    }

    /// Instances by the ids of a call, which must be well-formed and, as far
    /// as this reader sees, there: one bad id fails the whole call.
    ///
    /// # Errors
    /// `InvalidInstanceID.Malformed`, `InvalidInstanceID.NotFound`.
    pub(crate) fn named_instances(&mut self, ids: &[&str]) -> Result<Vec<Arc<Instance>>, ApiError> {
        for id in ids {
            check_id("i", "InvalidInstanceID", id)?;
        }
        let mut found = Vec::with_capacity(ids.len());
        let mut unknown = Vec::new();
        let Self {
            now,
            timing,
            region,
            rng,
            ..
        } = self;
        for id in ids {
            let seen = region
                .instances
                .get(*id)
                .and_then(|instance| look(*now, timing, rng, instance));
            match seen {
                Some(instance) => found.push(instance.clone()),
                None => unknown.push(*id),
            }
        }
        if unknown.is_empty() {
            Ok(found)
        } else {
            Err(ApiError::not_found(
                "InvalidInstanceID",
                "instance ID",
                &unknown,
            ))
        }
    }
}

fn look<'v, T: Clone>(
    now: Timestamp,
    timing: &Timing,
    rng: &mut Rng,
    value: &'v Lagged<T>,
) -> Option<&'v T> {
    // Chance is asked only where it matters, so that a settled cloud's ids do
    // not depend on how often it was read.
    let lucky = value.unsettled(now) && timing.lucky > 0.0 && rng.f64() < timing.lucky;
    value.seen(now, lucky)
}

/// Whether an identifier has the form of its kind: 8 or 17 digits.
///
/// # Errors
/// `<kind>.Malformed`.
pub(crate) fn check_id(prefix: &str, kind: &'static str, id: &str) -> Result<(), ApiError> {
    let digits = id
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'));
    match digits {
        Some(digits)
            if matches!(digits.len(), 8 | 17)
                && digits
                    .bytes()
                    .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) =>
        {
            Ok(())
        }
        _ => Err(ApiError::malformed(kind, id)),
    }
}
