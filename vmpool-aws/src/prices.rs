//! Spot prices: what `prefer: cheapest` orders the places of a launch by.
//!
//! One table an account, of all types that its pools may run on spot. It is read
//! beside a listing, within the account's budget, every few minutes; a launch
//! takes what is known at that moment and never waits for it. Where prices can't
//! be read, or are too old, places keep the pool file's order, and the launch
//! says why. On-demand prices are not in EC2's API, and are not here.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{InstanceType, SpotPrice};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use vmpool_core::account::Priority;
use vmpool_core::{ErrorKind, ProviderError, Timestamp};

use crate::account::Ec2Account;
use crate::failure::failed;
use crate::template::Zone;

/// Prices that are older don't count any more.
const MOST_AGE: Duration = Duration::from_mins(10);
/// Between two readings, so that one may fail before prices are too old.
const EVERY: Duration = Duration::from_mins(4);
/// After a reading that failed.
const AGAIN: Duration = Duration::from_mins(1);
/// A reading holds nothing up for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most types that are asked for; further ones have no price.
const MOST_TYPES: usize = 100;
/// Most prices of one answer, and most answers: types × zones, far from it.
const PAGE: i32 = 1000;
const MOST_PAGES: u32 = 5;
/// What machines run decides the price. All that are launched here are Linux.
const PRODUCT: &str = "Linux/UNIX";

/// Dollars an hour, as EC2 tells them.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(f64);

impl Price {
    /// The number.
    pub(crate) fn dollars(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.4}/h", self.0)
    }
}

/// The cheaper one first; what has no price comes last.
pub(crate) fn cheaper(a: Option<Price>, b: Option<Price>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.0.total_cmp(&b.0),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// The current spot prices of types in zones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(BTreeMap<String, BTreeMap<String, Price>>);

impl Table {
    /// The price of a type in a zone; the lowest of all zones where EC2 picks one.
    pub fn of(&self, machine_type: &str, zone: &Zone) -> Option<Price> {
        if !zone.name.is_empty() {
            return self.at(machine_type, &zone.name);
        }
        let zones = self.0.get(machine_type)?;
        zones.values().copied().min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The price of a type in the zone of this name.
    pub(crate) fn at(&self, machine_type: &str, zone: &str) -> Option<Price> {
        self.0.get(machine_type)?.get(zone).copied()
    }

    fn add(&mut self, told: &SpotPrice) {
        let (Some(kind), Some(zone)) = (told.instance_type(), told.availability_zone()) else {
            return;
        };
        let price = told.spot_price().and_then(|text| text.parse::<f64>().ok());
        let Some(price) = price.filter(|price| price.is_finite()) else {
            return;
        };
        let zones = self.0.entry(kind.as_str().to_owned()).or_default();
        zones.insert(zone.to_owned(), Price(price));
    }
}

/// What an account knows of prices.
#[derive(Debug, Default)]
pub(crate) struct Prices(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    types: BTreeSet<String>,
    table: Arc<Table>,
    read_at: Option<Timestamp>,
    /// Why the last reading failed.
    trouble: Option<String>,
    /// When it is read next; at once where nobody has set it.
    due: Option<Timestamp>,
}

impl Prices {
    /// A pool may run machines of these types on spot, the cheapest first.
    pub(crate) fn watch(&self, types: &[String]) {
        let mut known = self.0.lock();
        for kind in types {
            if known.types.len() < MOST_TYPES && known.types.insert(kind.clone()) {
                known.due = None;
            }
        }
    }

    /// The prices as of now.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) fn at(&self, now: Timestamp) -> Result<Arc<Table>, String> {
        let known = self.0.lock();
        match known.read_at {
            Some(read_at) if now.since(read_at) <= MOST_AGE => Ok(known.table.clone()),
            _ => Err(known
                .trouble
                .clone()
                .unwrap_or_else(|| "they were not read yet".to_owned())),
        }
    }

    /// What is to be read now; nothing, most times. Whoever is told reads.
    fn due(&self, now: Timestamp) -> Option<Vec<String>> {
        let mut known = self.0.lock();
        if known.types.is_empty() || known.due.is_some_and(|due| now < due) {
            return None;
        }
        known.due = Some(now.after(AGAIN));
        Some(known.types.iter().cloned().collect())
    }

    fn note(&self, now: Timestamp, read: Result<Table, String>) {
        let mut known = self.0.lock();
        match read {
            Ok(table) => {
                known.table = Arc::new(table);
                known.read_at = Some(now);
                known.trouble = None;
                known.due = Some(now.after(EVERY));
            }
            Err(why) => known.trouble = Some(why),
        }
    }
}

impl Ec2Account {
    /// Reads the spot prices that its pools' launches are ordered by, if it is
    /// time to. Waits a few seconds at most; a failure is told by the launches.
    ///
    /// # Cancel safety
    /// Prices stay as they were, and are read a minute later.
    pub async fn refresh_prices(&self) {
        let Some(types) = self.prices().due(self.clock().now()) else {
            return;
        };
        let read = match timeout(PATIENCE, read(self, &types)).await {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(error)) => Err(match std::error::Error::source(&error) {
                Some(said) => said.to_string(),
                None => error.to_string(),
            }),
            Err(_) => Err(format!("EC2 did not tell them within {PATIENCE:?}")),
        };
        if let Err(why) = &read {
            tracing::warn!(why, "spot prices can't be read: places keep their order");
        }
        self.prices().note(self.clock().now(), read);
    }
}

/// The current prices of `types` in all zones.
///
/// # Errors
/// A page was refused.
pub async fn read(account: &Ec2Account, types: &[String]) -> Result<Table, ProviderError> {
    let mut table = Table::default();
    let mut next = None;
    // From now on: each place's current price, and no history. A further page
    // is asked for by the same words.
    let now = i64::try_from(account.clock().now().0).unwrap_or(i64::MAX);
    for _ in 0..MOST_PAGES {
        let kinds = types.iter().map(|kind| InstanceType::from(kind.as_str()));
        let asked = account
            .ec2()
            .describe_spot_price_history()
            .set_instance_types(Some(kinds.collect()))
            .product_descriptions(PRODUCT)
            .start_time(DateTime::from_millis(now))
            .max_results(PAGE)
            .set_next_token(next);
        let asked = async {
            let sent = asked.send().await;
            sent.map_err(|error| failed("read spot prices", &error))
        };
        let page = account.call(Priority::Audit, Box::pin(asked)).await?;
        for told in page.spot_price_history() {
            table.add(told);
        }
        // The last page has an empty token, or none.
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(table);
        }
    }
    let attempted = format!("read spot prices in {MOST_PAGES} pages of {PAGE}");
    Err(ProviderError::new(ErrorKind::Unknown, attempted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_that_are_too_old_do_not_count_and_a_failure_says_why() {
        let prices = Prices::default();
        let start = Timestamp(1_000_000);
        assert_eq!(prices.due(start), None, "nobody asks for any");
        prices.watch(&["m6i.large".to_owned()]);
        assert!(prices.due(start).is_some());
        assert_eq!(prices.due(start), None, "it is being read");
        assert!(prices.at(start).is_err());

        prices.note(start, Ok(Table::default()));
        assert!(prices.at(start.after(MOST_AGE)).is_ok());
        assert!(prices.due(start.after(EVERY)).is_some());
        prices.note(start.after(EVERY), Err("throttled".to_owned()));
        assert!(prices.at(start.after(MOST_AGE)).is_ok(), "still good");
        let late = start.after(MOST_AGE + Duration::from_millis(1));
        assert_eq!(prices.at(late), Err("throttled".to_owned()));
    }
}
