//! How long the pool's ready machines are missed: from the moment when one
//! more is missing until one more is ready, the longest missed first. Pure.
//!
//! What nobody wants any more, because fewer are to be kept ready, was not
//! refilled and is told nothing of.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;

/// The machines that are missing now, by since when.
#[derive(Debug, Default)]
pub(super) struct Refill {
    missing: VecDeque<Timestamp>,
    wanted: u32,
}

impl Refill {
    /// So many of the `wanted` machines are ready. Tells of each that came since
    /// the last look how long it was missing.
    pub(super) fn look(&mut self, now: Timestamp, wanted: u32, ready: u32) -> Vec<Duration> {
        let unwanted = self.wanted.saturating_sub(wanted) as usize;
        let left = self.missing.len().saturating_sub(unwanted);
        self.missing.truncate(left);
        self.wanted = wanted;
        let missing = wanted.saturating_sub(ready) as usize;
        let came = self.missing.len().saturating_sub(missing);
        let came = self.missing.drain(..came);
        let spans = came.map(|since| now.since(since)).collect();
        self.missing.resize(missing, now);
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_that_comes_tells_how_long_the_longest_missed_was_missing() {
        let mut refill = Refill::default();
        let (at, ms) = (Timestamp, Duration::from_millis);
        assert!(refill.look(at(0), 2, 0).is_empty());
        assert_eq!(refill.look(at(40), 2, 1), [ms(40)]);
        assert!(refill.look(at(50), 2, 0).is_empty());
        assert!(refill.look(at(60), 2, 0).is_empty());
        assert_eq!(refill.look(at(90), 2, 2), [ms(90), ms(40)]);
        assert!(refill.look(at(99), 2, 5).is_empty());
    }

    #[test]
    fn what_is_not_wanted_any_more_was_not_refilled() {
        let mut refill = Refill::default();
        assert!(refill.look(Timestamp(0), 3, 1).is_empty());
        assert!(refill.look(Timestamp(9), 1, 1).is_empty());
    }
}
