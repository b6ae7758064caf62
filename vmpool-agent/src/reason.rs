//! Errors as the one line that a person reads: each cause behind its effect.

use std::error::Error;

/// `error: its cause: its cause's cause`. A cause whose text its effect has
/// already is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// A call's failure: the agent's own words, or what broke the call.
pub(crate) fn status(status: &tonic::Status) -> String {
    match status.source() {
        Some(cause) => chain(cause),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}
