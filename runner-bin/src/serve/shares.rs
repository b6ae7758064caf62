//! How the pools of one request share its time: the one that it names, and
//! those that it falls back on, one after the other.
//!
//! That time is the request's own, or what the first pool that is known lets its
//! requests wait. Each pool has an equal part of what is left, and none longer
//! than its own; what one leaves over is the next ones'.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use vmpool_core::PoolName;
use vmpool_pipeline::{PoolFile, Wanted};

/// A pool that does not say it lets its requests wait so long.
const USUAL: Duration = Duration::from_mins(10);
/// Longer than anybody waits, and a time that clocks can tell.
const AGES: Duration = Duration::from_hours(24 * 365);

/// A pool, and how long it lets its requests wait. None: it is not known here.
pub(super) type Waits = (PoolName, Option<Duration>);

/// The pools that have not had their turn.
#[derive(Debug)]
pub(super) struct Shares {
    pools: VecDeque<Waits>,
    until: Instant,
}

impl Shares {
    /// `named` is how long the request says that it waits.
    pub(super) fn begin(pools: Vec<Waits>, named: Option<Duration>, now: Instant) -> Self {
        let usual = || pools.iter().find_map(|(_, wait)| *wait);
        let patience = named.or_else(usual).unwrap_or(USUAL);
        Self {
            until: now + patience.min(AGES),
            pools: pools.into(),
        }
    }

    /// The next pool, and how long it is waited for there.
    pub(super) fn next(&mut self, now: Instant) -> Option<(PoolName, Duration)> {
        let turns = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        let (pool, longest) = self.pools.pop_front()?;
        let share = self.until.saturating_duration_since(now) / turns;
        Some((pool, longest.map_or(share, |longest| longest.min(share))))
    }
}

/// How long the pool that is wanted lets its requests wait. None: it is not known here.
pub(super) fn wait_of(pools: &PoolFile, wanted: &Wanted) -> Option<Duration> {
    let pool = pools.choose(wanted)?;
    Some(pool.timing.deadlines.acquire.unwrap_or(USUAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn named(pools: &[(&str, Option<u32>)]) -> Vec<Waits> {
        let pools = pools.iter();
        pools
            .map(|(name, wait)| (PoolName::new(*name), wait.map(|wait| MINUTE * wait)))
            .collect()
    }

    #[test]
    fn p3_what_a_pool_leaves_over_is_the_next_ones() {
        let begun = Instant::now();
        let pools = named(&[("a", Some(12)), ("b", Some(1)), ("c", None)]);
        let mut shares = Shares::begin(pools, None, begun);
        assert_eq!(shares.next(begun), Some(("a".into(), MINUTE * 4)));
        // The first has answered at once, the second may not take longer than its own.
        assert_eq!(shares.next(begun), Some(("b".into(), MINUTE)));
        let later = begun + MINUTE * 2;
        assert_eq!(shares.next(later), Some(("c".into(), MINUTE * 10)));
        assert_eq!(shares.next(later), None);
    }

    #[test]
    fn p3_the_request_s_own_time_counts_first_however_long_it_is() {
        let now = Instant::now();
        let pools = || named(&[("a", Some(12)), ("b", Some(12))]);
        let mut shares = Shares::begin(pools(), Some(MINUTE * 2), now);
        assert_eq!(shares.next(now), Some(("a".into(), MINUTE)));
        let mut shares = Shares::begin(pools(), Some(Duration::MAX), now);
        assert_eq!(shares.next(now), Some(("a".into(), MINUTE * 12)));
        // Its time is over before the second has its turn.
        let mut shares = Shares::begin(pools(), Some(MINUTE), now);
        let _ = shares.next(now);
        let late = shares.next(now + MINUTE * 2);
        assert_eq!(late, Some(("b".into(), Duration::ZERO)));
    }
}
