//! All that a launch sends: rendered once, sealed in the journal, and sent
//! again byte for byte by whatever version replays it (P1).
//!
//! A later version must still read these bytes, so fields are only ever added,
//! with defaults.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmpool_core::{
    ErrorKind, LaunchOrder, Market, OrderDraft, Place, ProviderError, SecretBytes, Tags,
};

use crate::prices::{Price, Table, cheaper};
use crate::template::{Machine, Preference, Template, Zone};

/// The launch of one order.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// What its machines are known by.
    pub(crate) tags: Tags,
    /// How many.
    pub(crate) count: u32,
    /// Their image.
    pub(crate) image: String,
    /// What all of them have alike.
    pub(crate) machine: Machine,
    /// Where they may be, the preferred place first; at least one.
    pub(crate) offers: Vec<Offer>,
    /// How they are paid for.
    #[serde(with = "MarketForm")]
    pub(crate) market: Market,
    /// Which of the offers is taken.
    pub(crate) preference: Preference,
    /// Base64, as EC2 takes it. Holds the enrolment secret.
    pub(crate) user_data: Option<String>,
    /// Machines are tagged with how their agents are reached. Orders of before
    /// that are sent again as they were.
    #[serde(default)]
    pub(crate) tags_reach: bool,
    /// Why the offers are in the pool file's order, where prices should have
    /// ordered them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unpriced: Option<String>,
}

/// A place where a machine may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) machine_type: String,
    pub(crate) zone: Zone,
    /// What a machine costs there, where that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price: Option<Price>,
}

/// [`Market`] in writing.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Market", rename_all = "snake_case")]
enum MarketForm {
    OnDemand,
    Spot,
}

impl Request {
    /// The launch of `draft`, in the first market that has a place left, and in
    /// the zone that is wished for, if that market has a place there.
    /// `prices` are asked for where they order its places.
    pub(crate) fn new(
        template: &Template,
        draft: &OrderDraft<'_>,
        prices: impl FnOnce() -> Result<Arc<Table>, String>,
    ) -> Result<Self, ProviderError> {
        let mut places = template.places();
        places.retain(|place| !draft.avoid.contains(place));
        let Some(market) = places.first().map(|place| place.market) else {
            let attempted = format!("render order {}: no place is left", draft.tags.order);
            return Err(ProviderError::new(ErrorKind::NoCapacity, attempted));
        };
        places.retain(|place| place.market == market);
        if let Some(wished) = draft.zone
            && places.iter().any(|place| &*place.zone == wished)
        {
            places.retain(|place| &*place.zone == wished);
        }
        let offers = places.iter().map(|place| Offer {
            machine_type: place.machine_type.to_string(),
            zone: template.zone(&place.zone).cloned().unwrap_or_default(),
            price: None,
        });
        let mut offers: Vec<_> = offers.collect();
        let mut unpriced = None;
        if template.by_price(market) {
            match prices() {
                Ok(prices) => order_by_price(&mut offers, &prices),
                Err(why) => unpriced = Some(why),
            }
        }
        Ok(Self {
            tags: draft.tags.clone(),
            count: draft.count,
            image: template.image.clone(),
            machine: template.machine.clone(),
            offers,
            market,
            preference: template.preference,
            user_data: template.user_data.render(draft)?,
            tags_reach: true,
            unpriced,
        })
    }

    /// As it is sealed.
    pub(crate) fn to_bytes(&self) -> Result<SecretBytes, ProviderError> {
        serde_json::to_vec(self)
            .map(SecretBytes::new)
            .map_err(|error| {
                let attempted = format!("render order {}", self.tags.order);
                ProviderError::new(ErrorKind::BadSpec, attempted).because(error)
            })
    }

    /// The launch that `order` seals.
    pub(crate) fn of(order: &LaunchOrder) -> Result<Self, ProviderError> {
        let bad = || {
            let attempted = format!("launch order {} attempt {}", order.id, order.attempt);
            ProviderError::new(ErrorKind::BadSpec, attempted)
        };
        let request: Self =
            serde_json::from_slice(order.request.expose()).map_err(|error| bad().because(error))?;
        let tags = &request.tags;
        if (&tags.order, tags.attempt, request.count) != (&order.id, order.attempt, order.count) {
            return Err(bad().because(OtherOrder));
        }
        Ok(request)
    }

    /// What makes a repeated launch the same launch: at most 64 characters.
    pub(crate) fn token(&self) -> String {
        format!("{}-{}", self.tags.order, self.tags.attempt)
    }

    /// The place of an offer, as capacity is remembered.
    pub(crate) fn place(&self, offer: &Offer) -> Place {
        Place {
            machine_type: offer.machine_type.as_str().into(),
            zone: offer.zone.key().into(),
            market: self.market,
        }
    }

    /// For messages: `launch 3 t3.large in eu-west-1a (spot) at $0.0301/h`.
    pub(crate) fn attempted(&self) -> String {
        let places: Vec<_> = self
            .offers
            .iter()
            .map(|offer| match offer.price {
                Some(price) => format!("{} at {price}", self.place(offer)),
                None => self.place(offer).to_string(),
            })
            .collect();
        let text = format!("launch {} {}", self.count, places.join(" or "));
        match &self.unpriced {
            Some(why) => {
                format!("{text} (in the pool file's order, prices are not known: {why})")
            }
            None => text,
        }
    }
}

/// The cheapest first; those without a price come last, as they stood.
fn order_by_price(offers: &mut [Offer], prices: &Table) {
    for offer in offers.iter_mut() {
        offer.price = prices.of(&offer.machine_type, &offer.zone);
    }
    offers.sort_by(|a, b| cheaper(a.price, b.price));
}

/// The bytes are of another order.
#[derive(Debug, thiserror::Error)]
#[error("the sealed request is of another order")]
struct OtherOrder;
