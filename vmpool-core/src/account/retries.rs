//! The budget of retries: a share of the first tries, and a few in any case.
//! Pure.

use tokio::time::Instant;

use super::Retries;
use super::bucket::Bucket;

/// What a retry costs, where a first try earns its percents.
const PRICE: u32 = 100;
/// Most retries that are kept earned: those of a thousand calls a tenth.
const MOST_EARNED: u32 = 100 * PRICE;

#[derive(Debug, Clone)]
pub(super) struct RetryBudget {
    percent: u32,
    earned: u32,
    floor: Bucket,
}

impl RetryBudget {
    pub(super) fn new(retries: Retries) -> Self {
        Self {
            percent: retries.percent,
            earned: 0,
            floor: Bucket::new(retries.floor),
        }
    }

    /// A first try was made.
    pub(super) fn earn(&mut self) {
        self.earned = self.earned.saturating_add(self.percent).min(MOST_EARNED);
    }

    pub(super) fn opens_at(&self, now: Instant) -> Instant {
        if self.earned >= PRICE {
            return now;
        }
        self.floor.opens_at(now)
    }

    /// A retry is made.
    pub(super) fn take(&mut self, now: Instant) {
        match self.earned.checked_sub(PRICE) {
            Some(left) => self.earned = left,
            None => self.floor.take(now),
        }
    }

    /// The retry was not made; it is kept as an earned one.
    pub(super) fn give_back(&mut self) {
        self.earned = self.earned.saturating_add(PRICE).min(MOST_EARNED);
    }
}
