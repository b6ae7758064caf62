//! What a call asks of a [`Desk`](crate::serve::desk::Desk), and the answer, as
//! they travel between runners: messages of `builds.proto` where HTTP has JSON.

use bytes::Bytes;
use http::StatusCode;
use prost::Message;
use serde::Deserialize;
use tonic::{Code, Status};

use super::failure::{Failure, Reason};
use crate::serve::wire::Answer;

/// The kind of content of an answer that is a message.
const MESSAGE: &str = "application/grpc+proto";

/// The kind of content of one that is a google.rpc.Status.
const STATUS: &str = "application/vnd.google.rpc.status";

/// It was done.
pub(super) fn done(message: &impl Message) -> Answer {
    Answer {
        status: StatusCode::OK,
        content_type: MESSAGE.to_owned(),
        body: message.encode_to_vec().into(),
    }
}

/// It was not.
pub(super) fn failed(failure: Failure) -> Answer {
    let status = Status::from(failure);
    Answer {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        content_type: STATUS.to_owned(),
        body: Bytes::copy_from_slice(status.details()),
    }
}

/// An error of a runner that does not know these messages, or that had no runner.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    error_msg: String,
}

/// What the answer is to the caller.
pub(super) fn read<M: Message + Default>(answer: &Answer) -> Result<M, Status> {
    match answer.content_type.as_str() {
        MESSAGE => M::decode(&*answer.body).map_err(|_| other_version("its answer can't be read")),
        STATUS => {
            let status = tonic_types::pb::Status::decode(&*answer.body)
                .map_err(|_| other_version("its error can't be read"))?;
            let code = Code::from(status.code);
            Err(Status::with_details(
                code,
                status.message,
                answer.body.clone(),
            ))
        }
        _ => {
            let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
            Err(match answer.status {
                StatusCode::FORBIDDEN => Failure::new(Reason::NotAllowed, said.error_msg).into(),
                StatusCode::TOO_MANY_REQUESTS => {
                    Failure::new(Reason::TooManyStages, said.error_msg).into()
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    Failure::new(Reason::NoOwner, said.error_msg).into()
                }
                _ => other_version(&said.error_msg),
            })
        }
    }
}

fn other_version(what: &str) -> Status {
    let message = format!("the runner that has the pool is of another version: {what}");
    Failure::new(Reason::OtherVersion, message).into()
}
