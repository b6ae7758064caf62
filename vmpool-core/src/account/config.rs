//! How many calls an account takes.

use std::sync::Arc;
use std::time::Duration;

/// Calls at once, and then one at a time: a bucket of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many at once after a rest; none counts as one.
    pub burst: u32,
    /// Then one in this time.
    pub every: Duration,
}

impl Rate {
    /// `burst` at once, then `a_second` each second.
    pub const fn new(burst: u32, a_second: u32) -> Self {
        let a_second = if a_second == 0 { 1 } else { a_second };
        Self {
            burst,
            every: Duration::from_nanos(1_000_000_000 / a_second as u64),
        }
    }
}

/// How much a kind of call is retried after it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// So many retries for a hundred first tries.
    pub percent: u32,
    /// Those that are always allowed.
    pub floor: Rate,
}

/// What an account's calls are limited to.
///
/// The default is for accounts without published limits, above all this host
/// itself: it only breaks loops. [`AccountConfig::ec2`] is for EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountConfig {
    /// Names the account in metrics.
    pub name: Arc<str>,
    /// Default 100, then 20/s: chosen, because a host starts its whole pool at once.
    pub launch: Rate,
    /// Default 100, then 20/s: chosen, as EC2's bucket for most kinds of describe.
    pub list: Rate,
    /// Default 200, then 50/s: chosen, so that machines never wait for their end.
    pub terminate: Rate,
    /// Default 100, then 20/s: chosen, like the listings.
    pub other: Rate,
    /// Default 10 %, and 3 at once or one in ten seconds: chosen, because a
    /// tenth more load hurts no provider, and because a person who waits for the
    /// end of an outage does not notice ten seconds.
    pub retries: Retries,
    /// How long a place that had no capacity is left alone. Default 3 min:
    /// Karpenter's figure, proven on EC2.
    pub short_for: Duration,
    /// Machines of a pool that fail in a row, or launches, until its breaker
    /// opens. Default 5: chosen, because chance rarely fails five in a row,
    /// and five dead machines are a small bill.
    pub breaker_after: u32,
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self {
            name: "default".into(),
            launch: Rate::new(100, 20),
            list: Rate::new(100, 20),
            terminate: Rate::new(200, 50),
            other: Rate::new(100, 20),
            retries: Retries {
                percent: 10,
                floor: Rate {
                    burst: 3,
                    every: Duration::from_secs(10),
                },
            },
            short_for: Duration::from_mins(3),
            breaker_after: 5,
        }
    }
}

impl AccountConfig {
    /// The request buckets that EC2 publishes for an account in a region:
    /// `RunInstances` and `CreateFleet` 5, then 2/s; mutating calls 50, then
    /// 5/s; listings that are filtered by tag and paginated here count as the
    /// unfiltered ones, 50, then 10/s, because others of the account list too.
    pub fn ec2(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            launch: Rate::new(5, 2),
            list: Rate::new(50, 10),
            terminate: Rate::new(50, 5),
            other: Rate::new(50, 5),
            ..Self::default()
        }
    }
}
