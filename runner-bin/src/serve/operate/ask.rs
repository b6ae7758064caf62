//! Has something done, wherever its pool is, and says how it went in gRPC's words.

use std::time::Duration;

use http::StatusCode;
use prost::Message as _;
use serde::Deserialize;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::operation::{Operates, PATHS};
use crate::serve::access::Caller;
use crate::serve::call::Request;
use crate::serve::desk::Desk;
use crate::serve::wire::Answer;

/// How long a person waits for a pool that has no runner at the moment.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has it done.
///
/// # Errors
/// It was not, or nobody can say.
///
/// # Cancel safety
/// Safe: ask again.
pub(in crate::serve) async fn ask<Q: Operates>(
    desk: &Desk,
    caller: &Caller,
    question: &Q,
) -> Result<Q::Answer, Status> {
    let request = Request {
        path: format!("{PATHS}{}", Q::NAME),
        query: String::new(),
        body: question.encode_to_vec().into(),
        hops: 0,
        // Seen to again by whoever has the pool, or by the process after this one.
        caller: caller.clone(),
    };
    let answered = timeout(PATIENCE, desk.answer(request)).await;
    let answer = answered.map_err(|_| {
        Status::unavailable("the pool has no runner at the moment, or it does not answer")
    })?;
    if answer.status != StatusCode::OK {
        return Err(refused(&answer));
    }
    let message = Q::Answer::decode(&*answer.body);
    message.map_err(|error| Status::internal(format!("the pool's runner answered: {error}")))
}

#[derive(Deserialize)]
struct Failure {
    error_msg: String,
}

fn refused(answer: &Answer) -> Status {
    let code = match answer.status {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    };
    let told: Result<Failure, _> = serde_json::from_slice(&answer.body);
    Status::new(
        code,
        told.map_or_else(|_| String::new(), |told| told.error_msg),
    )
}
