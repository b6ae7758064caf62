//! AWS's token buckets, through calls.

use fake_ec2::Config;

use crate::sky::Sky;

fn throttled() -> Sky {
    Sky::with(Config {
        throttling: true,
        ..Config::default()
    })
}

fn launches(sky: &mut Sky, tries: u32, count: &str) -> u32 {
    (0..tries)
        .filter(|_| {
            let result = sky.try_launch(&[("MinCount", count), ("MaxCount", count)]);
            if let Err(error) = &result {
                assert_eq!(error.code, "RequestLimitExceeded");
                assert_eq!(error.status, 503);
            }
            result.is_ok()
        })
        .count()
        .try_into()
        .unwrap()
}

#[test]
fn five_launch_calls_at_once_and_two_a_second_after() {
    let mut sky = throttled();
    assert_eq!(launches(&mut sky, 50, "10"), 5);
    sky.pass(1);
    assert_eq!(launches(&mut sky, 50, "10"), 2);
}

#[test]
fn a_thousand_machines_at_once_in_whatever_calls() {
    let mut sky = throttled();
    assert_eq!(launches(&mut sky, 5, "200"), 5);
    sky.pass(10);
    assert_eq!(launches(&mut sky, 1, "21"), 0);
    assert_eq!(launches(&mut sky, 1, "20"), 1);
}

#[test]
fn accounts_and_regions_have_buckets_of_their_own() {
    let mut sky = throttled();
    assert_eq!(launches(&mut sky, 10, "1"), 5);
    sky.region = "eu-west-1".to_owned();
    assert_eq!(launches(&mut sky, 10, "1"), 5);
    sky.key = "444455556666".to_owned();
    assert_eq!(launches(&mut sky, 10, "1"), 5);
}

#[test]
fn a_throttled_call_has_no_effect_and_a_refused_one_costs_a_token() {
    let mut sky = throttled();
    for _ in 0..5 {
        sky.launch_refused(&[("InstanceType", "none")]);
    }
    assert_eq!(sky.launch_refused(&[]), "RequestLimitExceeded");
    assert_eq!(sky.count(), 0);
}
