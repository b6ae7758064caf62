//! Bodies of requests, read as the incumbent's program reads them.

use http::StatusCode;
use serde::de::DeserializeOwned;
use vmpool_proto::incumbent;

use super::Answer;

/// Reads a request's body.
///
/// # Errors
/// It is no such value; the answer names the field, and shows no value (P11).
pub(super) fn decode<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Answer> {
    // What is read is an object; its fields in a list would mean something, too.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        let error = "json: invalid type: sequence, expected an object";
        return Err(Answer::malformed(StatusCode::BAD_REQUEST, error));
    }
    incumbent::decode(body)
        .map_err(|error| Answer::malformed(StatusCode::BAD_REQUEST, &error.to_string()))
}
