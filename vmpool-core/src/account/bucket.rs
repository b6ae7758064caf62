//! A bucket of tokens, exact to the nanosecond: in no span of time does it give
//! more than its burst and one token for each interval in it. Pure.

use tokio::time::Instant;

use super::Rate;

/// Tokens, kept as the moment at which the bucket would be full.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rate: Rate,
    /// None: it is full.
    full_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let full_at = None;
        Self { rate, full_at }
    }

    /// When a token can be taken; `now` where it can.
    pub(super) fn opens_at(&self, now: Instant) -> Instant {
        let spare = self
            .rate
            .every
            .saturating_mul(self.rate.burst.saturating_sub(1));
        let opens = self.full_at.and_then(|full| full.checked_sub(spare));
        opens.map_or(now, |at| at.max(now))
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.opens_at(now) <= now
    }

    /// Takes a token, even one that is not there yet.
    pub(super) fn take(&mut self, now: Instant) {
        let full_at = self.full_at.map_or(now, |full| full.max(now));
        self.full_at = full_at.checked_add(self.rate.every).or(Some(full_at));
    }

    /// A token that was taken was not used.
    pub(super) fn give_back(&mut self) {
        let before = self.full_at.and_then(|at| at.checked_sub(self.rate.every));
        self.full_at = before;
    }

    /// Goes on at another rate; the tokens that are in it stay.
    pub(super) fn set_rate(&mut self, rate: Rate, now: Instant) {
        let missing = self
            .full_at
            .map_or(0, |full| {
                let every = self.rate.every.as_nanos().max(1);
                full.saturating_duration_since(now)
                    .as_nanos()
                    .div_ceil(every)
            })
            .min(u128::from(u32::MAX));
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        self.rate = rate;
        self.full_at = now.checked_add(rate.every.saturating_mul(missing));
    }

    /// No token until `at`, and then one.
    pub(super) fn empty_until(&mut self, at: Instant) {
        let spare = self
            .rate
            .every
            .saturating_mul(self.rate.burst.saturating_sub(1));
        let full_at = at.checked_add(spare).unwrap_or(at);
        self.full_at = self.full_at.max(Some(full_at));
    }
}
