//! What limits one kind of call: its bucket, what throttling did to it, and the
//! budget of retries. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::retries::RetryBudget;
use super::{CallKind, Rate, Retries, Verdict};

/// Each step halves the rate; at the last it is a sixty-fourth.
const MOST_STEPS: u32 = 6;
/// Calm that brings one step back.
const CALM: Duration = Duration::from_secs(30);
/// First hold-off where the provider names none; doubles with each step.
const FIRST_HOLD: Duration = Duration::from_secs(1);
/// No hold-off is longer: a provider's word that is out of all reason.
const LONGEST_HOLD: Duration = Duration::from_hours(1);

/// One kind of call.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    kind: CallKind,
    rate: Rate,
    bucket: Bucket,
    /// How often the rate is halved.
    steps: u32,
    /// When `steps` last changed.
    stepped_at: Option<Instant>,
    /// The provider throttled; no call before this.
    held_until: Option<Instant>,
    retries: RetryBudget,
    /// The last call of this kind failed, so the next one is a retry.
    failing: bool,
}

/// A token that was taken, to be given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    retry: bool,
}

impl Lane {
    pub(super) fn new(kind: CallKind, rate: Rate, retries: Retries) -> Self {
        Self {
            kind,
            rate,
            bucket: Bucket::new(rate),
            steps: 0,
            stepped_at: None,
            held_until: None,
            retries: RetryBudget::new(retries),
            failing: false,
        }
    }

    /// When the next call may be made; `now` where it may.
    pub(super) fn opens_at(&self, now: Instant) -> Instant {
        let bucket = self.bucket.opens_at(now);
        if self.failing {
            bucket.max(self.retries.opens_at(now))
        } else {
            bucket
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> Taken {
        self.bucket.take(now);
        let retry = self.failing;
        if retry {
            self.retries.take(now);
        } else {
            self.retries.earn();
        }
        Taken { retry }
    }

    pub(super) fn give_back(&mut self, taken: Taken) {
        self.bucket.give_back();
        if taken.retry {
            self.retries.give_back();
        }
    }

    /// A call that was begun at `begun_at` ended.
    pub(super) fn ended(&mut self, begun_at: Instant, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Throttled(named) => self.throttled(begun_at, named, now),
            _ if verdict.is_answer() => {
                self.failing = false;
                self.calm(now);
            }
            _ => self.failing = true,
        }
    }

    fn throttled(&mut self, begun_at: Instant, named: Option<Duration>, now: Instant) {
        // Calls that were under way at the last step say nothing of the new rate.
        if self.stepped_at.is_none_or(|stepped| begun_at >= stepped) {
            self.step_to(self.steps + 1, now);
        }
        let hold = FIRST_HOLD.saturating_mul(1 << self.steps.saturating_sub(1));
        let until = now + named.unwrap_or(hold).min(LONGEST_HOLD);
        self.held_until = self.held_until.max(Some(until));
        self.bucket.empty_until(until);
    }

    fn calm(&mut self, now: Instant) {
        let calm = |at: Instant| now.saturating_duration_since(at) >= CALM;
        if self.steps > 0 && self.stepped_at.is_none_or(calm) {
            self.step_to(self.steps - 1, now);
        }
    }

    fn step_to(&mut self, steps: u32, now: Instant) {
        self.steps = steps.min(MOST_STEPS);
        self.stepped_at = Some(now);
        let every = self.rate.every.saturating_mul(1 << self.steps);
        let rate = Rate { every, ..self.rate };
        self.bucket.set_rate(rate, now);
    }

    /// The share of the rate that throttling left.
    pub(super) fn pace(&self) -> f64 {
        1.0 / f64::from(1_u32 << self.steps)
    }

    /// Why the next call must wait, where it must.
    pub(super) fn why_closed(&self, now: Instant) -> String {
        let kind = self.kind.as_str();
        if self.held_until.is_some_and(|until| until > now) || self.steps > 0 {
            format!("the provider throttles {kind} calls")
        } else if self.bucket.is_open(now) {
            format!("{kind} calls fail, and are tried again rarely")
        } else {
            format!("the budget of {kind} calls is used up")
        }
    }
}
