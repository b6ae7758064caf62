//! What a fake cloud has to give: capacity by place, and calls by rate.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::faults::Call;
use crate::provider::Place;

/// What may run short.
#[derive(Debug, Default)]
pub(super) struct Stock {
    short: BTreeSet<Place>,
    limits: HashMap<Call, (usize, Duration)>,
    answered: HashMap<Call, Vec<Instant>>,
}

impl Stock {
    pub(super) fn set_short(&mut self, place: &Place, short: bool) {
        if short {
            self.short.insert(place.clone());
        } else {
            self.short.remove(place);
        }
    }

    pub(super) fn is_short(&self, place: &Place) -> bool {
        self.short.contains(place)
    }

    /// From now on each span of `per` has at most so many calls answered.
    pub(super) fn limit(&mut self, call: Call, most: usize, per: Duration) {
        self.limits.insert(call, (most, per));
    }

    /// A call is made: how long until one would be answered, if this is not.
    pub(super) fn throttled(&mut self, call: Call, now: Instant) -> Option<Duration> {
        let (most, per) = *self.limits.get(&call)?;
        let answered = self.answered.entry(call).or_default();
        answered.retain(|at| *at + per > now);
        if answered.len() < most {
            answered.push(now);
            return None;
        }
        let oldest = answered.first().copied().unwrap_or(now);
        Some(oldest + per - now)
    }
}
