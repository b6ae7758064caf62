//! Refusals as runners see them: a status code, and the reason, field and term
//! in metadata.

use std::error::Error;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use vmpool_core::agent::{Refusal, RefusalKind, reason};

/// The rules refuse the call.
pub(super) fn refused(refusal: &Refusal) -> Status {
    let code = match refusal.kind() {
        RefusalKind::Precondition => Code::FailedPrecondition,
        RefusalKind::Conflict => Code::AlreadyExists,
        RefusalKind::NotFound => Code::NotFound,
        RefusalKind::Invalid => Code::InvalidArgument,
        RefusalKind::Exhausted => Code::ResourceExhausted,
    };
    let mut status = Status::new(code, refusal.to_string());
    let metadata = status.metadata_mut();
    put(metadata, "vmpool-reason", refusal.reason());
    if let Some(field) = refusal.field() {
        put(metadata, "vmpool-field", field);
    }
    if let Some(term) = refusal.ruling() {
        put(metadata, "vmpool-term", &term.to_string());
    }
    status
}

/// A field's value can't be carried out (P13).
pub(super) fn invalid(field: &str, why: impl Into<String>) -> Status {
    let mut status = Status::invalid_argument(why);
    put(status.metadata_mut(), "vmpool-reason", reason::INVALID);
    put(status.metadata_mut(), "vmpool-field", field);
    status
}

/// The agent failed at what it was asked.
pub(super) fn failed(error: &dyn Error) -> Status {
    Status::internal(chain(error))
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn put(metadata: &mut MetadataMap, key: &'static str, text: &str) {
    // A field's name may hold what a header may not; then the message says it.
    if let Ok(value) = text.parse() {
        metadata.insert(key, value);
    }
}
