//! One step, from its start (or from where it is) to its end, over as many
//! connections as that takes.
//!
//! The first connection starts the step. Once an agent has taken that, further
//! ones attach to it, so that a step is never started where it was lost. The
//! agent is told what the sink has durably, and nothing else.

use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::wrappers::WatchStream;
use tonic::{Status, Streaming};
use vmpool_core::agent::reason;
use vmpool_core::{ExecutorError, Lease, LogSink, Step, StepId, StepOutcome};
use vmpool_proto::agent::v1::run_event::Kind as Event;
use vmpool_proto::agent::v1::run_request::Kind as Request;
use vmpool_proto::agent::v1::{Acknowledge, Output, RunEvent, RunRequest};

use super::wire::{self, Verdict};
use super::{AgentExecutor, TRIES, fate, fits};
use crate::link::{Fate, Kept};

pub(super) struct Run<'a> {
    executor: &'a AgentExecutor,
    lease: &'a Lease,
    id: &'a StepId,
    what: String,
    attempted: String,
    /// What starts it. None: the agent has the step.
    start: Option<&'a Step>,
    /// How far the last call came.
    reached: Reached,
}

/// How far a call came before it broke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Nothing,
    /// The agent took the call.
    Agent,
    /// Something of the step came.
    Step,
}

/// How one connection's part of the run ended.
enum Part {
    Ended(StepOutcome),
    Broken(String),
}

impl<'a> Run<'a> {
    /// # Errors
    /// The step can't be sent.
    pub(super) fn new(
        executor: &'a AgentExecutor,
        lease: &'a Lease,
        step: &'a Step,
    ) -> Result<Self, ExecutorError> {
        fits(&wire::start(lease, step, 0)?, "step")?;
        Ok(Self {
            start: Some(step),
            ..Self::attach(executor, lease, &step.id)
        })
    }

    /// For a step that the agent has.
    pub(super) fn attach(executor: &'a AgentExecutor, lease: &'a Lease, id: &'a StepId) -> Self {
        let what = format!("step {id}");
        let attempted = format!("run {what}");
        Self {
            executor,
            lease,
            id,
            what,
            attempted,
            start: None,
            reached: Reached::Nothing,
        }
    }

    pub(super) async fn follow(
        mut self,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let mut tries = 0;
        loop {
            let kept = self.executor.reach(self.lease, &self.attempted).await?;
            self.reached = Reached::Nothing;
            let reason = match self.part(&kept, log).await? {
                Part::Ended(outcome) => return Ok(outcome),
                Part::Broken(reason) => reason,
            };
            tracing::debug!(machine = %self.lease.machine_id(), step = %self.id, %reason, "lost sight of a step");
            // A silent step may lose one connection after the other, for hours.
            let fate = fate(&kept, self.lease).await?;
            tries = match (self.reached, fate) {
                (Reached::Step, _) | (Reached::Agent, Fate::Lost) => 0,
                _ => tries + 1,
            };
            if tries >= TRIES {
                return Err(self.failed(reason));
            }
        }
    }

    async fn part(&mut self, kept: &Kept, log: &mut dyn LogSink) -> Result<Part, ExecutorError> {
        let from = log.position(self.id);
        let (durable, acknowledged) = watch::channel(from);
        let mut agent = kept.agent();
        let call = agent.run(requests(self.first(from)?, acknowledged));
        let events = match timeout(self.executor.agents.config().call_timeout, call).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return self.judge(&status),
            Err(_) => return Ok(Part::Broken("no answer in time".to_owned())),
        };
        self.start = None;
        self.reached = Reached::Agent;
        match self.read(events, from, &durable, log).await? {
            Ok(outcome) => Ok(Part::Ended(outcome)),
            Err(status) => self.judge(&status),
        }
    }

    /// Gives the log to the sink until the step's end, or the stream's.
    async fn read(
        &mut self,
        mut events: Streaming<RunEvent>,
        mut next: u64,
        durable: &watch::Sender<u64>,
        log: &mut dyn LogSink,
    ) -> Result<Result<StepOutcome, Status>, ExecutorError> {
        loop {
            let event = match events.message().await {
                Ok(Some(RunEvent { kind: Some(event) })) => event,
                // Of a later version, and nothing to us.
                Ok(Some(RunEvent { kind: None })) => continue,
                Ok(None) => {
                    return Ok(Err(Status::unavailable(
                        "the agent ended the call before the step",
                    )));
                }
                Err(status) => return Ok(Err(status)),
            };
            self.reached = Reached::Step;
            match event {
                Event::Output(output) => {
                    let Some((offset, bytes)) = beyond(&output, next) else {
                        continue;
                    };
                    next = offset.saturating_add(bytes.len() as u64);
                    let written = log.write(self.id, offset, bytes).await;
                    let position = written.map_err(|source| ExecutorError::Log {
                        step: self.id.clone(),
                        source,
                    })?;
                    durable.send_if_modified(|durable| {
                        let further = position > *durable;
                        *durable = position.max(*durable);
                        further
                    });
                }
                Event::Ended(mut ended) => {
                    if let Some(returned) = ended.returned.take() {
                        let returned = wire::returned(returned);
                        let taken = log.returned(self.id, &returned).await;
                        taken.map_err(|source| ExecutorError::Log {
                            step: self.id.clone(),
                            source,
                        })?;
                    }
                    return wire::outcome(ended)
                        .map(Ok)
                        .map_err(|reason| self.failed(reason));
                }
            }
        }
    }

    fn first(&self, from: u64) -> Result<RunRequest, ExecutorError> {
        let kind = match self.start {
            None => Request::Attach(wire::attach(self.lease, self.id, from)),
            Some(step) => Request::Start(wire::start(self.lease, step, from)?),
        };
        Ok(RunRequest { kind: Some(kind) })
    }

    fn judge(&self, status: &Status) -> Result<Part, ExecutorError> {
        if wire::why(status) == Some(reason::UNKNOWN_STEP) {
            return Err(ExecutorError::UnknownStep {
                machine: self.lease.machine_id().clone(),
                step: self.id.clone(),
            });
        }
        match wire::verdict(status, self.lease, &self.attempted, &self.what) {
            Verdict::Answer(error) => Err(error),
            Verdict::Broken(reason) => Ok(Part::Broken(reason)),
        }
    }

    fn failed(&self, reason: String) -> ExecutorError {
        let (stage, attempted) = (self.lease.stage().clone(), self.attempted.clone());
        ExecutorError::Failed {
            stage,
            attempted,
            reason,
        }
    }
}

/// What goes to the agent: the first request, then each acknowledgement, of
/// which only the latest counts.
fn requests(
    first: RunRequest,
    acknowledged: watch::Receiver<u64>,
) -> impl Stream<Item = RunRequest> + Send + 'static {
    let acknowledge = |log_offset| RunRequest {
        kind: Some(Request::Acknowledge(Acknowledge { log_offset })),
    };
    let later = WatchStream::from_changes(acknowledged).map(acknowledge);
    stream::once(std::future::ready(first)).chain(later)
}

/// The part of `output` that begins at `next` or later, if there is one.
fn beyond(output: &Output, next: u64) -> Option<(u64, &[u8])> {
    let known = next.saturating_sub(output.offset);
    let rest = output.data.get(usize::try_from(known).ok()?..)?;
    (!rest.is_empty()).then(|| (output.offset.max(next), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(offset: u64, data: &'static [u8]) -> Output {
        Output {
            offset,
            data: data.into(),
        }
    }

    #[test]
    fn p4_output_that_comes_again_is_taken_once() {
        assert_eq!(beyond(&output(0, b"abc"), 0), Some((0, b"abc".as_slice())));
        assert_eq!(beyond(&output(0, b"abc"), 2), Some((2, b"c".as_slice())));
        assert_eq!(beyond(&output(0, b"abc"), 3), None);
        assert_eq!(beyond(&output(0, b"abc"), 9), None);
        assert_eq!(
            beyond(&output(5, b"abc"), 3),
            Some((5, b"abc".as_slice())),
            "a gap is the sink's to see"
        );
        assert_eq!(
            beyond(&output(u64::MAX, b"a"), 0),
            Some((u64::MAX, b"a".as_slice()))
        );
    }
}
