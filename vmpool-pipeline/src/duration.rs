//! Durations as people write them: `90s`, `10m`, `1h30m`, `500ms`, `2d`.
//!
//! A bare number is refused: half the CI systems read it as seconds and the
//! other half as minutes, and a timeout that is sixty times off is found late.

use std::time::Duration;

/// The longest duration that is accepted, a year: more is a typing error.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Why a text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// A number without a unit.
    #[error("a duration needs a unit, like `90s`, `10m` or `1h30m`")]
    NoUnit,
    /// Not a row of numbers with units.
    #[error("expected a duration like `90s`, `10m` or `1h30m`")]
    Malformed,
    /// Nothing can be done in no time.
    #[error("a duration must be longer than nothing")]
    Zero,
    /// More than a year.
    #[error("a duration must be at most a year")]
    TooLong,
}

/// Reads a duration: whole numbers, each with its unit (`d`, `h`, `m`, `s` or
/// `ms`), the larger unit first.
///
/// ```
/// # use std::time::Duration;
/// # use vmpool_pipeline::parse_duration;
/// assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// assert!(parse_duration("90").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DurationError::NoUnit);
    }
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = millis(unit)
            .filter(|&unit| unit < last_unit)
            .ok_or(DurationError::Malformed)?;
        let number: u64 = match number.parse() {
            Ok(number) => number,
            Err(_) if number.is_empty() => return Err(DurationError::Malformed),
            Err(_) => return Err(DurationError::TooLong),
        };
        let part = number.checked_mul(unit).ok_or(DurationError::TooLong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or(DurationError::TooLong)?;
        last_unit = unit;
        rest = after;
    }
    match total {
        _ if text.is_empty() => Err(DurationError::Malformed),
        Duration::ZERO => Err(DurationError::Zero),
        _ if total > LONGEST => Err(DurationError::TooLong),
        _ => Ok(total),
    }
}

fn millis(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, seconds) in [
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5400),
            (" 2d ", 172_800),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("1s500ms"), Ok(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_its_reason() {
        use DurationError::{Malformed, NoUnit, TooLong, Zero};
        for (text, error) in [
            ("90", NoUnit),
            ("", Malformed),
            ("m", Malformed),
            ("1m1h", Malformed),
            ("1m1m", Malformed),
            ("1.5h", Malformed),
            ("-1m", Malformed),
            ("1h 30m", Malformed),
            ("10 minutes", Malformed),
            ("0s", Zero),
            ("400d", TooLong),
            ("99999999999999999999d", TooLong),
            ("18446744073709551615d", TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }
}
