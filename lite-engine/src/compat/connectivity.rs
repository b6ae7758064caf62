//! The check of `/healthz` that there is a network: connections to one address,
//! again and again for a while.

use std::collections::HashMap;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Where the request names no duration, or none that can be.
const USUAL: Duration = Duration::from_secs(5);

/// No caller waits longer.
const MAX: Duration = Duration::from_secs(60);

const EVERY: Duration = Duration::from_millis(500);

/// For one connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the query wants the check to go on; `None`: it wants none.
pub(super) fn wanted(query: &str) -> Option<Duration> {
    let parameters = query.split('&').filter_map(|pair| pair.split_once('='));
    let parameters: HashMap<&str, &str> = parameters.collect();
    let wanted = parameters.get("perform_dns_lookup")?;
    wanted.eq_ignore_ascii_case("true").then_some(())?;
    let seconds = parameters
        .get("connectivity_check_duration_seconds")
        .and_then(|seconds| seconds.parse().ok())
        .filter(|seconds| *seconds > 0);
    Some(seconds.map_or(USUAL, Duration::from_secs).min(MAX))
}

/// # Errors
/// The first connection that fails.
pub(super) async fn check(address: &str, lasts: Duration) -> Result<(), String> {
    let end = Instant::now() + lasts;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut attempts = 0;
    while Instant::now() < end {
        ticks.tick().await;
        attempts += 1;
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        let reason = match connected {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "timed out".into(),
        };
        return Err(format!(
            "connectivity check failed after {attempts} attempts: dial tcp {address}: {reason}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_whether_and_how_long() {
        assert_eq!(wanted(""), None);
        assert_eq!(wanted("perform_dns_lookup=false"), None);
        assert_eq!(wanted("perform_dns_lookup=TRUE"), Some(USUAL));
        let long = "perform_dns_lookup=true&connectivity_check_duration_seconds=";
        for (seconds, expected) in [("2", 2), ("0", 5), ("x", 5), ("-1", 5), ("99999", 60)] {
            let expected = Some(Duration::from_secs(expected));
            assert_eq!(wanted(&format!("{long}{seconds}")), expected);
        }
    }
}
