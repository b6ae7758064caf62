//! Time as the library sees it: wall time for what is written down, derived
//! from the monotonic clock so that it never runs backwards and stands still
//! in tests that pause tokio's time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A moment as the journal and the provider's tags write it: Unix milliseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment plus `span`, at the latest the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The moment `span` earlier.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long `self` is after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same moment as the standard library writes it.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

/// The instant that lies `span` ahead; a span of more than a century counts as one.
pub(crate) fn later(span: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_hours(24 * 36_525);
    Instant::now() + span.min(CENTURY)
}

fn millis(span: Duration) -> u64 {
    // Without 128-bit arithmetic: this is on the claim path.
    span.as_secs()
        .saturating_mul(1000)
        .saturating_add(u64::from(span.subsec_millis()))
}

/// Tells the time. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    origin: Instant,
}

impl Clock {
    /// A clock that agrees with the system's at this moment.
    pub fn system() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall: Timestamp(millis(since_epoch)),
            origin: Instant::now(),
        }
    }

    /// A clock that shows `wall` at this moment: for simulations, whose
    /// histories are the same on any day.
    pub fn showing(wall: Timestamp) -> Self {
        Self {
            wall,
            origin: Instant::now(),
        }
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// What this clock shows at `instant`.
    pub fn at(&self, instant: Instant) -> Timestamp {
        self.wall
            .after(instant.saturating_duration_since(self.origin))
    }

    /// The instant at which this clock shows `moment`; now, if that is past.
    pub fn instant(&self, moment: Timestamp) -> Instant {
        later(moment.since(self.now()))
    }
}
