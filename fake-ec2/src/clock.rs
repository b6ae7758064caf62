//! The time of the fake cloud: the host's, tokio's, or one that a test moves.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A clock that a test can move forward. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Mutex<Reading>>);

#[derive(Debug)]
enum Reading {
    /// The host's time plus what it was moved by.
    Host(SignedDuration),
    /// Stands still until it is moved.
    Manual(Timestamp),
    /// What it showed at a moment of tokio's clock.
    Tokio(Timestamp, Instant),
}

impl Clock {
    /// The host's clock; [`Clock::advance`] puts it further ahead.
    pub fn host() -> Self {
        Self(Arc::new(Mutex::new(Reading::Host(SignedDuration::ZERO))))
    }

    /// A clock that stands at 2026-01-01 until it is moved.
    pub fn manual() -> Self {
        let start = Timestamp::constant(1_767_225_600, 0);
        Self(Arc::new(Mutex::new(Reading::Manual(start))))
    }

    /// Agrees with the host's at this moment and goes by tokio's clock from
    /// then on: a test that pauses that one has both at its will.
    pub fn tokio() -> Self {
        let reading = Reading::Tokio(Timestamp::now(), Instant::now());
        Self(Arc::new(Mutex::new(reading)))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match *self.0.lock() {
            Reading::Host(ahead) => Timestamp::now() + ahead,
            Reading::Manual(now) => now,
            Reading::Tokio(shown, at) => shown + span(at.elapsed()),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = span(by);
        match &mut *self.0.lock() {
            Reading::Host(ahead) => *ahead += by,
            Reading::Manual(now) | Reading::Tokio(now, _) => *now += by,
        }
    }

    /// Whether time passes without [`Clock::advance`].
    pub fn runs(&self) -> bool {
        !matches!(*self.0.lock(), Reading::Manual(_))
    }
}

fn span(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO)
}

/// As EC2 writes times: `2026-01-01T00:00:00.000Z`.
pub(crate) fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// As EC2 writes times inside of sentences.
pub(crate) fn in_words(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S GMT").to_string()
}
