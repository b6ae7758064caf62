//! A caller's deadline, as gRPC tells it.
//!
//! The library enforces it only until an answer begins, which is at once where
//! the answer is a stream.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// A reason needs so long to reach the caller before its deadline, at most.
const MARGIN: Duration = Duration::from_millis(500);

/// When the call must have been answered; none: it has no deadline. Beyond any
/// that can be meant there is none, either.
pub(super) fn of(metadata: &MetadataMap) -> Option<Instant> {
    let left = metadata.get("grpc-timeout")?.to_str().ok()?;
    let left = left_of(left)?;
    Instant::now().checked_add(left.saturating_sub((left / 10).min(MARGIN)))
}

/// `10S` and its like: at most eight digits and a unit.
fn left_of(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u32 = digits.parse().ok()?;
    let unit = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p13_deadlines_are_read_as_grpc_writes_them() {
        assert_eq!(
            left_of("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(left_of("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(left_of("0n"), Some(Duration::ZERO));
        for bad in ["", "S", "1", "-1S", "1 S", "100000000S", "1ä", "1s"] {
            assert_eq!(left_of(bad), None, "{bad:?}");
        }
    }
}
