//! What EC2 refuses with: a code, a sentence, an HTTP status.
//!
//! Codes and their meaning are those of "Error codes for the Amazon EC2 API"
//! (docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html). Its
//! server errors are 5xx; the rest is 400 unless said otherwise here.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// As an SDK matches it, `InvalidInstanceID.NotFound`.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
}

impl ApiError {
    /// An error with the status that its code has in EC2.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            status: status_of(&code),
            code,
            message: message.into(),
        }
    }

    pub(crate) fn missing(name: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    pub(crate) fn invalid(name: &str, value: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!("Invalid value '{value}' for {name}."),
        )
    }

    pub(crate) fn not_found(kind: &'static str, what: &str, ids: &[&str]) -> Self {
        let message = match ids {
            [one] => format!("The {what} '{one}' does not exist"),
            many => format!("The {what}s '{}' do not exist", many.join(", ")),
        };
        Self::new(format!("{kind}.NotFound"), message)
    }

    pub(crate) fn malformed(kind: &'static str, id: &str) -> Self {
        Self::new(format!("{kind}.Malformed"), format!("Invalid id: \"{id}\""))
    }

    /// What the account's buckets say when they are empty.
    pub fn throttled() -> Self {
        Self::new("RequestLimitExceeded", "Request limit exceeded.")
    }

    pub(crate) fn no_capacity(instance_type: &str, zone: &str) -> Self {
        Self::new(
            "InsufficientInstanceCapacity",
            format!(
                "We currently do not have sufficient {instance_type} capacity in the \
                 Availability Zone you requested ({zone}). Our system will be working on \
                 provisioning additional capacity."
            ),
        )
    }

    pub(crate) fn dry_run() -> Self {
        Self::new(
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        )
    }
}

fn status_of(code: &str) -> u16 {
    match code {
        "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" => 503,
        "InternalError"
        | "InternalFailure"
        | "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientAddressCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientVolumeCapacity" => 500,
        "UnauthorizedOperation" | "AccessDenied" => 403,
        "AuthFailure" => 401,
        "DryRunOperation" => 412,
        _ => 400,
    }
}
