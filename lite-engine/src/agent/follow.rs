//! Follows one step for one runner: its log from an offset on, then its result.

use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::oneshot;
use tonic::{Status, Streaming};
use vmpool_core::{StageId, StepId, StepOutcome, StepStatus, Term};
use vmpool_proto::agent::v1::run_event::Kind as Event;
use vmpool_proto::agent::v1::run_request::Kind as Request;
use vmpool_proto::agent::v1::step_ended::How;
use vmpool_proto::agent::v1::{Output, RunEvent, RunRequest, StepEnded};

use super::engine::Engine;
use super::refuse::{failed, invalid};
use super::returns::Files;
use super::service::status;
use crate::log::{LogError, LogReader};

/// Which step is followed, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) term: Term,
    pub(super) stage: StageId,
    pub(super) step: StepId,
}

/// The events of a step from `offset` on. Bytes that were released before are
/// left out. What comes in by `requests` is acknowledged meanwhile.
///
/// Dropping the stream leaves the step running.
pub(super) fn follow(
    engine: Arc<Engine>,
    followed: Followed,
    offset: u64,
    requests: Streaming<RunRequest>,
) -> impl Stream<Item = Result<RunEvent, Status>> + Send + 'static {
    let (refused, refusal) = oneshot::channel();
    engine.spawn(acknowledge(
        engine.clone(),
        followed.clone(),
        requests,
        refused,
    ));
    let follow = Follow {
        engine,
        followed,
        offset,
        reader: None,
        outcome: None,
        refusal: Some(refusal),
    };
    stream::unfold(Some(follow), |follow| async move {
        let mut follow = follow?;
        match follow.next().await {
            Ok(Event::Ended(ended)) => Some((Ok(event(Event::Ended(ended))), None)),
            Ok(output) => Some((Ok(event(output)), Some(follow))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

fn event(kind: Event) -> RunEvent {
    RunEvent { kind: Some(kind) }
}

/// Takes acknowledgements until the runner closes its side. One that is refused
/// ends the call.
async fn acknowledge(
    engine: Arc<Engine>,
    followed: Followed,
    mut requests: Streaming<RunRequest>,
    refused: oneshot::Sender<Status>,
) {
    let Followed { term, stage, step } = followed;
    // An error means that the call is over.
    while let Ok(Some(request)) = requests.message().await {
        let Some(Request::Acknowledge(acknowledge)) = request.kind else {
            let _ = refused.send(invalid("kind", "only the first request starts or attaches"));
            return;
        };
        let offset = acknowledge.log_offset;
        if let Err(error) = engine.acknowledge(term, stage.clone(), step.clone(), offset) {
            let _ = refused.send(status(error));
            return;
        }
    }
}

struct Follow {
    engine: Arc<Engine>,
    followed: Followed,
    offset: u64,
    reader: Option<LogReader>,
    /// How the step ended, once the rules know.
    outcome: Option<StepOutcome>,
    refusal: Option<oneshot::Receiver<Status>>,
}

impl Follow {
    async fn next(&mut self) -> Result<Event, Status> {
        let Some(mut refusal) = self.refusal.take() else {
            return self.advance().await;
        };
        let event = tokio::select! {
            event = self.advance() => event?,
            refused = &mut refusal => match refused {
                Ok(status) => return Err(status),
                // The runner acknowledges no more.
                Err(_) => return self.advance().await,
            },
        };
        self.refusal = Some(refusal);
        Ok(event)
    }

    /// The next bytes of the log, or the end once all of them were given.
    ///
    /// # Cancel safety
    /// Cancelling loses nothing.
    async fn advance(&mut self) -> Result<Event, Status> {
        loop {
            let all_given = |outcome: &StepOutcome| self.offset >= outcome.log_end;
            if let Some(outcome) = self.outcome.as_ref().filter(|outcome| all_given(outcome)) {
                return Ok(Event::Ended(self.ended(outcome)));
            }
            let Followed { stage, step, .. } = &self.followed;
            let mut ended = pin!(self.engine.until(|rules| {
                let entry = rules.attach(stage, step).ok()?;
                entry.outcome().cloned()
            }));
            let Some(reader) = &mut self.reader else {
                let begun = self.engine.until(|_| self.engine.step(step));
                tokio::select! {
                    running = begun => self.reader = Some(running.log(self.offset.max(running.log_begin()))),
                    outcome = &mut ended, if self.outcome.is_none() => self.outcome = Some(outcome),
                }
                continue;
            };
            tokio::select! {
                biased;
                chunk = reader.next() => match chunk {
                    Ok(Some(chunk)) => {
                        self.offset = chunk.offset + chunk.bytes.len() as u64;
                        let (offset, data) = (chunk.offset, chunk.bytes);
                        return Ok(Event::Output(Output { offset, data }));
                    }
                    // All there is; what remains is its result.
                    Ok(None) => {
                        let outcome = ended.await;
                        return Ok(Event::Ended(self.ended(&outcome)));
                    }
                    // Somebody has it; it goes on where the log begins now.
                    Err(LogError::Released { .. }) => self.reader = None,
                    Err(LogError::Closed { .. }) => {
                        return Err(Status::unavailable("the agent stops"));
                    }
                    Err(error) => return Err(failed(&error)),
                },
                // The rules know the end, whatever its holder does: no more is waited for.
                outcome = &mut ended, if self.outcome.is_none() => self.outcome = Some(outcome),
            }
        }
    }
}

impl Follow {
    /// The step's end, with what it has returned.
    fn ended(&self, outcome: &StepOutcome) -> StepEnded {
        let files = Files::of(&self.engine.host, &self.followed.step);
        let setup = self.engine.state.lock().setup.clone().unwrap_or_default();
        StepEnded {
            returned: files.read(&setup.env, outcome.status.is_success()),
            ..to_wire(outcome)
        }
    }
}

/// How a step ended, as it is written on the wire.
pub(super) fn to_wire(outcome: &StepOutcome) -> StepEnded {
    let (how, code, reason) = match &outcome.status {
        StepStatus::Exited { code } => (How::Exited, *code, ""),
        StepStatus::Signalled { signal } => (How::Signalled, *signal, ""),
        StepStatus::OutOfMemory => (How::OutOfMemory, 0, ""),
        StepStatus::TimedOut => (How::TimedOut, 0, ""),
        StepStatus::Cancelled => (How::Cancelled, 0, ""),
        StepStatus::NotStarted { reason } => (How::NotStarted, 0, reason.as_str()),
        StepStatus::Lost { reason } => (How::Lost, 0, reason.as_str()),
        _ => (How::Unspecified, 0, ""),
    };
    StepEnded {
        how: how.into(),
        code,
        reason: reason.to_owned(),
        started_at_ms: outcome.started_at.0,
        ended_at_ms: outcome.ended_at.0,
        log_end: outcome.log_end,
        returned: None,
    }
}
