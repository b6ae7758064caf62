//! P8: the limits by themselves.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::line::Line;
use super::{Allowed, Breaker, Mishap, Priority, Rate};

proptest! {
    #[test]
    fn p8_no_window_sees_more_calls_than_the_bucket_allows(
        burst in 1_u32..8,
        every in 1_u64..500,
        gaps in prop::collection::vec(0_u64..300, 1..200),
    ) {
        let every = Duration::from_millis(every);
        let mut bucket = Bucket::new(Rate { burst, every });
        let mut now = Instant::now();
        let mut calls = Vec::new();
        for gap in gaps {
            now += Duration::from_millis(gap);
            if bucket.is_open(now) {
                bucket.take(now);
                calls.push(now);
            }
        }
        for (first, from) in calls.iter().enumerate() {
            for (last, to) in calls.iter().enumerate().skip(first) {
                let window = (*to - *from).as_nanos() / every.as_nanos();
                prop_assert!((last - first + 1) as u128 <= u128::from(burst) + window);
            }
        }
    }
}

#[test]
fn p8_the_urgent_go_first_and_nobody_starves() {
    let mut line = Line::new();
    line.join(Priority::Audit, "audit");
    for _ in 0..20 {
        line.join(Priority::Terminate, "terminate");
    }
    let turns: Vec<_> = std::iter::from_fn(|| line.next()).collect();
    assert_eq!(turns.iter().position(|turn| *turn == "audit"), Some(7));
}

#[test]
fn p8_an_open_breaker_orders_one_machine_at_a_time_until_one_is_ready() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new(5);
    for _ in 0..5 {
        breaker.failed(Mishap::Boot, "no agent", now);
        now += Duration::from_secs(30);
    }
    assert!(breaker.is_open());
    assert_eq!(breaker.allows(0, now), Allowed::UpTo(1));
    assert!(matches!(breaker.allows(1, now), Allowed::AfterProbe(_)));
    breaker.succeeded();
    assert_eq!(breaker.allows(3, now), Allowed::UpTo(u32::MAX));
}
