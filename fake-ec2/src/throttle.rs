//! Token buckets of one account in one region.
//!
//! The numbers are those of "Request throttling for the Amazon EC2 API"
//! (docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html). A
//! request takes one token from its action's bucket; launching, starting,
//! stopping and terminating also take one a machine from a bucket of their
//! own. A request that finds either short takes nothing.

use std::collections::HashMap;

use jiff::Timestamp;

/// How many tokens a bucket holds, and how many it gets a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The most it holds, and what it starts with.
    pub capacity: f64,
    /// Tokens a second.
    pub refill: f64,
}

const fn rate(capacity: f64, refill: f64) -> Rate {
    Rate { capacity, refill }
}

/// The request bucket of an action. `narrowed`: the request has a filter, ids
/// or a page size.
pub fn request_rate(action: &str, narrowed: bool) -> Rate {
    match action {
        // "Uncategorized actions".
        "RunInstances" | "StartInstances" => rate(5.0, 2.0),
        "TerminateInstances" => rate(100.0, 5.0),
        "CreateTags" => rate(100.0, 10.0),
        // "Unfiltered and unpaginated non-mutating actions".
        "DescribeInstances"
        | "DescribeInstanceStatus"
        | "DescribeNetworkInterfaces"
        | "DescribeSecurityGroups"
        | "DescribeSnapshots"
        | "DescribeSpotInstanceRequests"
        | "DescribeVolumes"
            if !narrowed =>
        {
            rate(50.0, 10.0)
        }
        _ if ["Describe", "Get", "List", "Search"]
            .iter()
            .any(|verb| action.starts_with(verb)) =>
        {
            rate(100.0, 20.0)
        }
        // "Mutating" and "Resource-intensive actions" have the same numbers.
        _ => rate(50.0, 5.0),
    }
}

/// The resource bucket of an action, if it has one.
pub fn resource_rate(action: &str) -> Option<Rate> {
    match action {
        "RunInstances" | "StartInstances" => Some(rate(1000.0, 2.0)),
        "TerminateInstances" | "StopInstances" => Some(rate(1000.0, 20.0)),
        _ => None,
    }
}

/// The buckets. One that was never used is full.
#[derive(Debug, Default)]
pub(crate) struct Buckets(HashMap<Key, Bucket>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    action: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Request,
    Unnarrowed,
    Resource,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    /// Its tokens now.
    fn filled(self, rate: Rate, now: Timestamp) -> f64 {
        let seconds = (now.duration_since(self.at).as_secs_f64()).max(0.0);
        (self.tokens + seconds * rate.refill).min(rate.capacity)
    }
}

impl Buckets {
    /// Takes what a call costs, or nothing. `resources`: machines that the
    /// call asks to launch, start, stop or terminate.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        action: &'static str,
        narrowed: bool,
        resources: u32,
    ) -> bool {
        let full = request_rate(action, true);
        let request = request_rate(action, narrowed);
        let kind = if request == full {
            Kind::Request
        } else {
            Kind::Unnarrowed
        };
        let mut wanted = vec![(Key { action, kind }, request, 1.0)];
        if let Some(rate) = resource_rate(action) {
            let kind = Kind::Resource;
            wanted.push((Key { action, kind }, rate, f64::from(resources)));
        }
        let level = |key: &Key, rate: Rate| {
            self.0
                .get(key)
                .map_or(rate.capacity, |bucket| bucket.filled(rate, now))
        };
        let left: Vec<(Key, f64)> = wanted
            .into_iter()
            .map(|(key, rate, cost)| {
                let left = level(&key, rate) - cost;
                (key, left)
            })
            .collect();
        if left.iter().any(|(_, tokens)| *tokens < 0.0) {
            return false;
        }
        for (key, tokens) in left {
            self.0.insert(key, Bucket { tokens, at: now });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn passed(buckets: &mut Buckets, at: i64, times: u32, action: &'static str, n: u32) -> u32 {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(at);
        (0..times)
            .map(|_| u32::from(buckets.take(now, action, false, n)))
            .sum()
    }

    #[test]
    fn launches_have_five_tokens_and_two_a_second() {
        let mut buckets = Buckets::default();
        assert_eq!(passed(&mut buckets, 0, 20, "RunInstances", 1), 5);
        assert_eq!(passed(&mut buckets, 1000, 20, "RunInstances", 1), 2);
        assert_eq!(passed(&mut buckets, 100_000, 20, "RunInstances", 1), 5);
    }

    #[test]
    fn a_thousand_machines_may_be_launched_at_once_and_then_two_a_second() {
        let mut buckets = Buckets::default();
        assert_eq!(passed(&mut buckets, 0, 4, "RunInstances", 250), 4);
        assert_eq!(passed(&mut buckets, 2000, 1, "RunInstances", 5), 0);
        assert_eq!(passed(&mut buckets, 2000, 1, "RunInstances", 4), 1);
    }

    #[test]
    fn a_listing_of_everything_has_the_smaller_bucket() {
        let mut buckets = Buckets::default();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(passed(&mut buckets, 0, 80, "DescribeInstances", 0), 50);
        assert!(buckets.take(now, "DescribeInstances", true, 0));
        assert!(buckets.take(now, "DescribeVolumes", false, 0));
    }
}
