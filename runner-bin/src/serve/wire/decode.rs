//! JSON as the incumbent's program reads it: one value, whatever follows it
//! is passed over; `null` is the same as nothing.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::Answer;

/// Reads a request's body.
///
/// # Errors
/// It is no such value; the answer names the field.
pub(super) fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Answer> {
    let refused = |error: &str| Err(Answer::malformed(StatusCode::BAD_REQUEST, error));
    if body.trim_ascii().is_empty() {
        return refused("EOF");
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value: Result<Option<T>, _> = serde_path_to_error::deserialize(&mut json);
    match value {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(error) if error.inner().is_eof() => refused("unexpected EOF"),
        Err(error) => {
            let path = error.path().to_string();
            match path.as_str() {
                "." => refused(&format!("json: {}", error.inner())),
                field => refused(&format!("json: {field}: {}", error.inner())),
            }
        }
    }
}

/// A field that may be `null`.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
