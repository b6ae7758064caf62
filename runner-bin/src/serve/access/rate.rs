//! How many requests a second, of callers that have no limit of their own: each
//! name and each address by itself.
//!
//! Who is on this host and needs no name is not counted.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Looks between which those that have long been silent are forgotten.
const TIDY: usize = 4096;

/// Of whom requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// A caller.
    Name(String),
    /// Those of one address; of IPv6, of one network of 64 bits, which one
    /// host may have all of.
    Address(IpAddr),
}

impl Of {
    pub(super) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Counts.
#[derive(Debug)]
pub(super) struct Rate {
    counts: DefaultKeyedRateLimiter<Of>,
    looks: AtomicUsize,
}

/// So many a second, twice as many at once.
pub(super) fn of(per_second: NonZeroU32) -> Quota {
    Quota::per_second(per_second).allow_burst(per_second.saturating_mul(TWO))
}

const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

impl Rate {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            counts: RateLimiter::hashmap(of(per_second)),
            looks: AtomicUsize::new(0),
        }
    }

    /// Counts a request; says whether it comes too soon.
    pub(super) fn is_too_soon(&self, of: &Of) -> bool {
        if self.looks.fetch_add(1, Ordering::Relaxed) % TIDY == TIDY - 1 {
            self.counts.retain_recent();
        }
        self.counts.check_key(of).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_asks_too_often_is_told_so_and_others_are_not() {
        let rate = Rate::new(NonZeroU32::new(5).unwrap());
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|at| Of::address(at.parse().unwrap()));
        let refused = (0..100).filter(|_| rate.is_too_soon(&one)).count();
        // More come in time only if the test is slow.
        assert!((1..=90).contains(&refused), "{refused}");
        assert!(!rate.is_too_soon(&other));
    }

    #[test]
    fn a_network_counts_as_one() {
        let of = |address: &str| Of::address(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
