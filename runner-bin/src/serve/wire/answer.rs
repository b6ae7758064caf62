//! An answer as it goes back to the caller, over HTTP or by another runner.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

const JSON: &str = "application/json";

/// When a caller that was refused for now should try again, in seconds.
const RETRY_AFTER: u32 = 2;

/// Status, kind of content, content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// An error of what was asked for.
#[derive(Serialize)]
struct Failure<'a> {
    error_msg: &'a str,
    code: u16,
}

/// An error of how it was asked for.
#[derive(Serialize)]
struct Malformed<'a> {
    error_msg: &'a str,
}

impl Answer {
    /// 200 with nothing in it.
    pub(crate) fn done() -> Self {
        Self {
            status: StatusCode::OK,
            content_type: String::new(),
            body: Bytes::new(),
        }
    }

    /// 200 with `content`.
    pub(crate) fn json(content: &impl Serialize) -> Self {
        Self::of(StatusCode::OK, JSON, serde_json::to_vec(content))
    }

    /// 200 with a message of `vmpool.v1`, for another runner.
    pub(crate) fn message(body: Vec<u8>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/protobuf".to_owned(),
            body: body.into(),
        }
    }

    /// The body, or the URL, is not what it should be.
    pub(crate) fn malformed(status: StatusCode, error: &str) -> Self {
        let body = serde_json::to_vec(&Malformed { error_msg: error });
        let body = body.map(|mut body| {
            body.push(b'\n');
            body
        });
        Self::of(status, "application/json; charset=utf-8", body)
    }

    /// What was asked for can't be.
    pub(crate) fn bad_request(error: &str) -> Self {
        Self::failure(StatusCode::BAD_REQUEST, error)
    }

    /// It was tried, and failed.
    pub(crate) fn failed(error: &str) -> Self {
        Self::failure(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// Not now: the same request may be made again.
    pub(crate) fn later(error: &str) -> Self {
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    /// The text of a failure; of anything else nothing.
    pub(crate) fn error(&self) -> String {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct Error {
            error_msg: String,
        }
        let error: Error = serde_json::from_slice(&self.body).unwrap_or_default();
        error.error_msg
    }

    /// What the header `Retry-After` says, if it is to be there.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        let later = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        later.contains(&self.status).then_some(RETRY_AFTER)
    }

    /// It was refused, in the shape of what failed.
    pub(crate) fn failure(status: StatusCode, error: &str) -> Self {
        let failure = Failure {
            error_msg: error,
            code: status.as_u16(),
        };
        Self::of(status, JSON, serde_json::to_vec_pretty(&failure))
    }

    fn of(
        status: StatusCode,
        content_type: &str,
        body: Result<Vec<u8>, serde_json::Error>,
    ) -> Self {
        Self {
            status,
            content_type: content_type.to_owned(),
            body: body.expect("texts and numbers are JSON").into(),
        }
    }
}
