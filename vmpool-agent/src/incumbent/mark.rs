//! The mark that tells an agent from the same one restarted.
//!
//! It is a step that can't be carried out, because it names no program: the
//! agent takes it, runs nothing, and knows its id for as long as it knows
//! anything of the stage. It is left once the stage is set up, and looked for
//! once a connection.

use std::time::Duration;

use http::StatusCode;
use vmpool_core::StageId;
use vmpool_proto::incumbent::{PollRequest, PollStepAnswer, StartStepRequest, encode};

use super::call::{CallError, Nothing};
use super::convert;
use crate::config::LinkConfig;
use crate::link::Kept;

/// An agent that does not know a step says so at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Leaves `mark`, which is that of `stage`. Again changes nothing.
pub(super) async fn leave(
    kept: &Kept,
    stage: &StageId,
    mark: &StartStepRequest,
    limits: &LinkConfig,
) -> Result<(), CallError> {
    let body = encode(mark);
    kept.requests()
        .post::<Nothing>("/start_step", &body, limits.call_timeout)
        .await?;
    kept.set_stage(stage);
    Ok(())
}

/// Whether the agent at the other end has the mark of `stage`. The error says
/// why that is not known.
pub(super) async fn is_there(kept: &Kept, stage: &StageId) -> Result<bool, CallError> {
    if kept.has_stage(stage) {
        return Ok(true);
    }
    let id = convert::mark_id(stage);
    let body = encode(&PollRequest { id });
    let polled = kept.requests();
    let polled = polled.post::<PollStepAnswer>("/poll_step", &body, PATIENCE);
    match polled.await {
        // Who is made to wait for the mark's end is told that it is there.
        Ok(_) | Err(CallError::Slow(_)) => {
            kept.set_stage(stage);
            Ok(true)
        }
        Err(CallError::Refused {
            status: StatusCode::BAD_REQUEST,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}
