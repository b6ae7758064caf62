//! The metadata service's answers, read. Pure.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use vmpool_core::Timestamp;

/// Longest action; EC2 knows `terminate`, `stop` and `hibernate`.
const ACTION_MAX: usize = 32;

/// An answer that can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is not the JSON that it should be.
    #[error("read its answer")]
    Json(#[from] serde_json::Error),
    /// A field says nothing that can be.
    #[error("read {field} of its answer: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
struct InstanceAction {
    action: String,
    time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recommendation {
    notice_time: String,
}

/// `spot/instance-action`: what is done with the instance, and when.
///
/// # Errors
/// It can't be read.
pub fn interruption(text: &[u8]) -> Result<(String, Timestamp), ReadError> {
    let InstanceAction { action, time } = serde_json::from_slice(text)?;
    let is_word = !action.is_empty()
        && action.len() <= ACTION_MAX
        && action
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if !is_word {
        return Err(ReadError::Field {
            field: "action",
            reason: "not a word".to_owned(),
        });
    }
    Ok((action, moment("time", &time)?))
}

/// `events/recommendations/rebalance`: when it was recommended.
///
/// # Errors
/// It can't be read.
pub fn rebalance(text: &[u8]) -> Result<Timestamp, ReadError> {
    let Recommendation { notice_time } = serde_json::from_slice(text)?;
    moment("noticeTime", &notice_time)
}

fn moment(field: &'static str, text: &str) -> Result<Timestamp, ReadError> {
    let wrong = |reason: String| ReadError::Field { field, reason };
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| wrong(error.to_string()))?;
    let millis = u64::try_from(at.unix_timestamp())
        .map_err(|_| wrong("before 1970".to_owned()))?
        .saturating_mul(1000);
    Ok(Timestamp(millis))
}
