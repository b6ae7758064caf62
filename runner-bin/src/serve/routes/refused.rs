//! Errors, in HTTP's words.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};
use utoipa::ToSchema;

/// When to ask again, in seconds.
const AGAIN: u32 = 2;

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    /// What was wrong, and what can be done about it.
    error_msg: String,
    /// The HTTP status.
    code: u16,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Refused(Status);

impl Refused {
    pub(super) fn bad(why: String) -> Self {
        Self(Status::invalid_argument(why))
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::FailedPrecondition => StatusCode::CONFLICT,
            Code::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable | Code::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let failure = Failure {
            error_msg: self.0.message().to_owned(),
            code: status.as_u16(),
        };
        let mut response = (status, Json(failure)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, AGAIN.into());
            // The next request may belong to another process.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
