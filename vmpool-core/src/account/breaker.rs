//! Stops orders of a specification whose machines all fail. Pure: it is told the time.
//!
//! ```text
//! closed ──failures in a row──► open: nothing, for a growing pause
//!   ▲                            │ ▲
//!   └── a machine is ready ── probe ┘ it fails: a longer pause
//! ```
//!
//! While it is closed, each failure makes the pause before the next order
//! longer too; open, there is one order of one machine after the pause, and
//! none while that one is on its way. Only failures since the last machine that
//! became ready count. Of many that fail at once each one counts, but they
//! lengthen the pause once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::HeldOff;

/// First pause; doubles with each failure after it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause after a launch that was refused: asking costs a call.
const LONGEST_LAUNCH_PAUSE: Duration = Duration::from_mins(1);
/// Longest pause after a boot that failed: asking costs a machine.
const LONGEST_BOOT_PAUSE: Duration = Duration::from_mins(5);
/// First pause of an open breaker.
const FIRST_OPEN_PAUSE: Duration = Duration::from_secs(10);

/// What happened to an order or to its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The provider has none to give now. It says nothing of the specification
    /// and never opens the breaker.
    Refused,
    /// The launch failed, or nothing ever came of it.
    Launch,
    /// A machine never became ready.
    Boot,
}

/// What may be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// At most so many machines.
    UpTo(u32),
    /// Nothing before the pause is over.
    NotBefore(HeldOff),
    /// Nothing until the machine that is on its way is ready, or failed.
    AfterProbe(Arc<str>),
}

/// Counts what failed in a row.
#[derive(Debug, Clone)]
pub struct Breaker {
    opens_after: u32,
    failures: u32,
    doublings: u32,
    until: Option<Instant>,
    reason: Arc<str>,
}

impl Breaker {
    /// A closed one that opens after so many failures in a row.
    pub fn new(opens_after: u32) -> Self {
        Self {
            opens_after: opens_after.max(1),
            failures: 0,
            doublings: 0,
            until: None,
            reason: "".into(),
        }
    }

    /// A machine is ready: nothing is wrong with the specification.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.doublings = 0;
        self.until = None;
    }

    /// Something failed, for a reason that people are told.
    pub fn failed(&mut self, mishap: Mishap, reason: &str, now: Instant) {
        if mishap != Mishap::Refused {
            self.failures = self.failures.saturating_add(1);
        }
        self.reason = reason.into();
        // Those that fail together are one more reason for the same pause.
        if self.until.is_some_and(|until| until > now) {
            if self.is_open() {
                self.until = self.until.max(now.checked_add(FIRST_OPEN_PAUSE));
            }
            return;
        }
        let longest = match mishap {
            Mishap::Boot => LONGEST_BOOT_PAUSE,
            Mishap::Launch | Mishap::Refused => LONGEST_LAUNCH_PAUSE,
        };
        let mut pause = FIRST_PAUSE.saturating_mul(1 << self.doublings);
        if self.is_open() {
            pause = pause.max(FIRST_OPEN_PAUSE);
        }
        self.doublings = (self.doublings + 1).min(16);
        self.until = now.checked_add(pause.min(longest));
    }

    /// Too many failed in a row.
    pub fn is_open(&self) -> bool {
        self.failures >= self.opens_after
    }

    /// What may be ordered now, while `coming` machines are on their way.
    pub fn allows(&self, coming: u32, now: Instant) -> Allowed {
        if let Some(until) = self.until.filter(|until| *until > now) {
            let reason = self.why();
            return Allowed::NotBefore(HeldOff { until, reason });
        }
        match (self.is_open(), coming) {
            (false, _) => Allowed::UpTo(u32::MAX),
            (true, 0) => Allowed::UpTo(1),
            (true, _) => Allowed::AfterProbe(self.why().into()),
        }
    }

    fn why(&self) -> String {
        let Self {
            failures, reason, ..
        } = self;
        if self.is_open() {
            format!("{failures} failed in a row, the last one: {reason}")
        } else {
            reason.to_string()
        }
    }
}
