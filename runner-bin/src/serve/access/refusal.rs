//! How who is turned away is told so, over HTTP and over gRPC: there with a
//! reason out of the vocabulary of `builds.proto`.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::NotAllowed;
use crate::serve::wire::Answer;

/// The domain of every reason.
const DOMAIN: &str = "vmpool";

/// When who asks too often may ask again.
const SOON: Duration = Duration::from_secs(1);

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("who asks is unknown: send a token, as `Authorization: Bearer TOKEN`")]
    Nameless,
    #[error("the header Authorization is not `Bearer TOKEN`")]
    NoBearer,
    #[error("nobody has this token")]
    UnknownToken,
    #[error("too many requests: ask again in a second")]
    TooSoon,
}

/// The answer of the routes for builds.
pub(crate) fn over_http(refused: NotAdmitted) -> Response<Body> {
    let status = match refused {
        NotAdmitted::TooSoon => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNAUTHORIZED,
    };
    let answer = Answer::failure(status, &refused.to_string());
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"vmpool\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    } else {
        headers.insert(RETRY_AFTER, SOON.as_secs().into());
    }
    response
}

/// The answer of gRPC.
pub(crate) fn over_grpc(refused: NotAdmitted) -> Response<tonic::body::Body> {
    let told = refused.to_string();
    let status = match refused {
        NotAdmitted::TooSoon => {
            let mut details = because("TOO_MANY_REQUESTS");
            details.set_retry_info(Some(SOON));
            Status::with_error_details(Code::ResourceExhausted, told, details)
        }
        _ => Status::with_error_details(Code::Unauthenticated, told, because("UNKNOWN_CALLER")),
    };
    status.into_http()
}

impl From<NotAllowed> for Status {
    fn from(error: NotAllowed) -> Self {
        let details = because("NOT_ALLOWED");
        Self::with_error_details(Code::PermissionDenied, error.to_string(), details)
    }
}

/// What is asked about is not there, or not for who asks: that looks the same.
pub(crate) fn not_there(reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(Code::NotFound, message, because(reason))
}

fn because(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}
