//! Places that had no capacity lately.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Account;
use crate::clock::later;
use crate::provider::{Capabilities, Market, Place};

/// Until when each place is left alone. Those that are past are forgotten when
/// the next one comes.
#[derive(Debug, Default)]
pub(super) struct Shortages(BTreeMap<Place, Instant>);

/// Which places of a template have no capacity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Those to avoid; none where that would be all of them.
    pub avoid: Vec<Place>,
    /// All places are short, at least until this.
    pub until: Option<Instant>,
}

impl Account {
    /// The provider had no capacity for a template's machines, at `place` if it
    /// said where. True: that is news, and another of its places may have some.
    pub fn no_capacity(&self, template: &Capabilities, place: Option<&Place>) -> bool {
        let now = Instant::now();
        let until = later(self.config().short_for);
        let mut places = self.inner.places.lock();
        places.0.retain(|_, until| *until > now);
        let short = match place {
            Some(place) => vec![place.clone()],
            None => places_of(template),
        };
        let mut news = false;
        for place in short {
            news |= places.0.insert(place, until).is_none();
        }
        drop(places);
        news && self.shortage(template).until.is_none()
    }

    /// The provider had all the machines that were asked of it. Where the
    /// template has several places it did not say in which.
    pub fn had_capacity(&self, template: &Capabilities) {
        if let [only] = places_of(template).as_slice() {
            self.inner.places.lock().0.remove(only);
        }
    }

    /// Which of a template's places had no capacity lately.
    pub fn shortage(&self, template: &Capabilities) -> Shortage {
        let now = Instant::now();
        let mut all = places_of(template);
        let places = self.inner.places.lock();
        let short_until = |place: &Place| places.0.get(place).filter(|until| **until > now);
        if let Some(until) = all.iter().map(short_until).min().flatten() {
            let avoid = Vec::new();
            let until = Some(*until);
            return Shortage { avoid, until };
        }
        all.retain(|place| short_until(place).is_some());
        Shortage {
            avoid: all,
            until: None,
        }
    }
}

/// A template without named places has one, that is like no other template's.
fn places_of(template: &Capabilities) -> Vec<Place> {
    if !template.places.is_empty() {
        return template.places.clone();
    }
    vec![Place {
        machine_type: template.spec.clone(),
        zone: "".into(),
        market: Market::OnDemand,
    }]
}
