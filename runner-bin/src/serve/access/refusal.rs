//! How who is turned away is told so, over HTTP and over gRPC.

use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::serve::wire::Answer;

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
            let details = ErrorDetails::with_retry_info(Some(SOON));
            tonic::Status::with_error_details(Code::ResourceExhausted, told, details)
        }
        _ => tonic::Status::unauthenticated(told),
    };
    status.into_http()
}
