//! What a simulated step does.

use std::time::Duration;

use crate::step::StepStatus;

/// A step's script: what it prints when, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimStep {
    /// Output and when it comes, from the start; in that order.
    pub(super) output: Vec<(Duration, Vec<u8>)>,
    /// It ends after this long; `None`: not by itself.
    pub(super) takes: Option<Duration>,
    pub(super) status: StepStatus,
}

impl SimStep {
    /// Ends at once, with this status.
    pub fn ends(status: StepStatus) -> Self {
        Self {
            output: Vec::new(),
            takes: Some(Duration::ZERO),
            status,
        }
    }

    /// Ends at once, with this exit code.
    pub fn exits(code: i32) -> Self {
        Self::ends(StepStatus::Exited { code })
    }

    /// Runs until it is cancelled or over its time.
    pub fn hangs() -> Self {
        Self {
            takes: None,
            ..Self::exits(0)
        }
    }

    /// Ends after this long, if it ends.
    #[must_use]
    pub fn takes(mut self, time: Duration) -> Self {
        self.takes = self.takes.map(|_| time);
        self
    }

    /// Prints at once.
    #[must_use]
    pub fn prints(self, text: impl Into<Vec<u8>>) -> Self {
        self.prints_after(Duration::ZERO, text)
    }

    /// Prints this long after its start; never, if it has ended by then.
    #[must_use]
    pub fn prints_after(mut self, time: Duration, text: impl Into<Vec<u8>>) -> Self {
        self.output.push((time, text.into()));
        self.output.sort_by_key(|(time, _)| *time);
        self
    }

    /// The same step under a holder that ends it after `timeout`.
    pub(super) fn within(mut self, timeout: Option<Duration>) -> Self {
        if let Some(timeout) = timeout.filter(|timeout| self.takes.is_none_or(|t| t > *timeout)) {
            self.takes = Some(timeout);
            self.status = StepStatus::TimedOut;
        }
        self
    }
}
