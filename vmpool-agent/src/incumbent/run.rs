//! One step, from its start (or from where it is) to its end, over as many
//! connections as that takes.
//!
//! ```text
//! mark seen ─► started, as often as it takes: the same process knows its id
//!     │             └─► polled and read at once ─► answered, output ended ─► outcome
//!     └ not: lost
//! ```

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use vmpool_core::{
    ExecutorError, Lease, LogSink, LogSinkError, StepId, StepOutcome, StepStatus, Timestamp,
};
use vmpool_proto::incumbent::{PollRequest, PollStepAnswer, encode};

use super::call::{CallError, Nothing, Requests};
use super::output::{Output, Piece};
use super::{Fault, LiteEngineExecutor, convert, failed, fault, mark};
use crate::executor::{TRIES, fate};
use crate::link::{Fate, Kept};

/// The incumbent's answers the last one of those who poll a step, so each polls
/// again after a while.
const POLL: Duration = Duration::from_mins(5);

/// The same once the step's output has ended.
const POLL_AT_THE_END: Duration = Duration::from_secs(5);

/// From the end of a step's output until its result must be there. The
/// incumbent's never has one of a step that it failed at.
const RESULT_PATIENCE: Duration = Duration::from_mins(5);

/// From a step's result, or a part of its output after that, until more of it
/// must come, or its end.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(30);

/// Why a step is lost that its agent should have.
const FORGOTTEN: &str =
    "the machine's agent was restarted, and knows nothing of the stage and its steps any more";

pub(super) struct Run<'a> {
    executor: &'a LiteEngineExecutor,
    lease: &'a Lease,
    id: &'a StepId,
    /// Its name there.
    name: String,
    attempted: String,
    /// What starts it. None: the agent has taken it.
    start: Option<Vec<u8>>,
    began: Timestamp,
    cancelled: CancellationToken,
    answer: Option<PollStepAnswer>,
    /// By when there must be an answer: the output has ended.
    answer_by: Option<Instant>,
    /// Something came of the step since this was looked at last.
    moved: bool,
}

/// How one connection's part of the run ended.
enum Part {
    Ended(StepStatus),
    Broken(String),
}

impl<'a> Run<'a> {
    /// `start`: the body that starts it; none for a step that the agent has.
    pub(super) fn of(
        executor: &'a LiteEngineExecutor,
        lease: &'a Lease,
        id: &'a StepId,
        start: Option<Vec<u8>>,
    ) -> Self {
        Self {
            executor,
            lease,
            id,
            name: convert::step_id(id),
            attempted: format!("run step {id}"),
            start,
            began: executor.clock.now(),
            cancelled: executor.agents.step(lease.machine_id(), id),
            answer: None,
            answer_by: None,
            moved: false,
        }
    }

    pub(super) async fn follow(
        mut self,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let mut next = log.position(self.id);
        let mut tries = 0;
        let cancelled = self.cancelled.clone();
        let status = loop {
            let reached = tokio::select! {
                biased;
                () = cancelled.cancelled() => break StepStatus::Cancelled,
                reached = self.executor.reach(self.lease, &self.attempted) => reached,
            };
            let kept = reached?;
            let begun = tokio::select! {
                biased;
                () = cancelled.cancelled() => break StepStatus::Cancelled,
                begun = self.begin(&kept) => begun,
            };
            let part = match begun {
                // It may have been run, perhaps by the runner before.
                Ok(false) => break self.forgotten(log).await?,
                Ok(true) => self.watch(&kept, log, &mut next).await?,
                Err(Fault::Broken(reason)) => Part::Broken(reason),
                Err(Fault::Final(error)) => return Err(error),
            };
            let reason = match part {
                Part::Ended(status) => break status,
                Part::Broken(reason) => reason,
            };
            tracing::debug!(machine = %self.lease.machine_id(), step = %self.id, %reason, "lost sight of a step");
            // A silent step may lose one connection after the other, for hours.
            let lost = fate(&kept, self.lease).await? == Fate::Lost && self.start.is_none();
            let moved = std::mem::take(&mut self.moved) || lost;
            tries = if moved { 0 } else { tries + 1 };
            if tries < TRIES {
                continue;
            }
            match &self.answer {
                None => return Err(failed(self.lease, &self.attempted, reason)),
                // Its end is known; of its log there is no more to be had.
                Some(answer) => {
                    let status = self.status(answer)?;
                    log.gap(self.id, &reason).await.map_err(|e| self.log(e))?;
                    break status;
                }
            }
        };
        if let Some(answer) = &self.answer {
            let returned = convert::returned(answer);
            if !returned.is_empty() {
                let taken = log.returned(self.id, &returned).await;
                taken.map_err(|error| self.log(error))?;
            }
        }
        Ok(StepOutcome {
            status,
            started_at: self.began,
            ended_at: self.executor.clock.now(),
            log_end: next.max(log.position(self.id)),
        })
    }

    /// Has the agent take the step. False: it was restarted since the stage
    /// was set up.
    async fn begin(&mut self, kept: &Kept) -> Result<bool, Fault> {
        let there = mark::is_there(kept, self.lease.stage()).await;
        if !there.map_err(|error| fault(error, self.lease, &self.attempted))? {
            return Ok(false);
        }
        let Some(start) = &self.start else {
            return Ok(true);
        };
        let limit = self.executor.agents.config().call_timeout;
        let requests = kept.requests();
        match requests.post("/start_step", start, limit).await {
            Ok(Nothing {}) => {}
            Err(CallError::Refused {
                status: StatusCode::CONFLICT,
                message,
            }) => {
                return Err(Fault::Final(ExecutorError::Conflict {
                    what: format!("step {}", self.id),
                    field: message.split('`').nth(1).unwrap_or("content").to_owned(),
                }));
            }
            // Asked again, it starts what it has not started.
            Err(error @ CallError::Slow(_)) => return Err(Fault::Broken(error.to_string())),
            Err(error) => return Err(fault(error, self.lease, &self.attempted)),
        }
        self.start = None;
        self.moved = true;
        Ok(true)
    }

    /// Polls the step and reads its output, until both have ended.
    async fn watch(
        &mut self,
        kept: &Arc<Kept>,
        log: &mut dyn LogSink,
        next: &mut u64,
    ) -> Result<Part, ExecutorError> {
        *next = log.position(self.id);
        let mut output = Output::read(kept, &self.name, *next);
        let requests = kept.requests();
        let mut polled = Box::pin(poll(&requests, &self.name, POLL));
        let mut ended = false;
        let mut output_by = Instant::now() + OUTPUT_PATIENCE;
        loop {
            if ended && let Some(answer) = &self.answer {
                return self.status(answer).map(Part::Ended);
            }
            let late = match self.answer_by {
                Some(by) if ended => by,
                _ => output_by,
            };
            let waits = ended || self.answer.is_some();
            tokio::select! {
                biased;
                () = self.cancelled.cancelled() => return Ok(Part::Ended(StepStatus::Cancelled)),
                piece = output.next(), if !ended => match piece {
                    Piece::Bytes(bytes) => {
                        let written = log.write(self.id, *next, &bytes).await;
                        written.map_err(|error| self.log(error))?;
                        *next += bytes.len() as u64;
                        self.moved = true;
                        output_by = Instant::now() + OUTPUT_PATIENCE;
                    }
                    Piece::End => {
                        ended = true;
                        let by = Instant::now() + RESULT_PATIENCE;
                        self.answer_by.get_or_insert(by);
                        polled = Box::pin(poll(&requests, &self.name, POLL_AT_THE_END));
                    }
                    Piece::Broken(error) if self.answer.is_none() => return self.judge(error),
                    Piece::Broken(error) => return Ok(Part::Broken(error.to_string())),
                },
                answer = &mut polled, if self.answer.is_none() => match answer {
                    Ok(answer) => {
                        self.answer = Some(answer);
                        self.moved = true;
                        output_by = Instant::now() + OUTPUT_PATIENCE;
                    }
                    Err(CallError::Slow(limit)) => {
                        polled = Box::pin(poll(&requests, &self.name, limit));
                    }
                    Err(error) => return self.judge(error),
                },
                () = sleep_until(late), if waits => return Ok(if ended {
                    let reason = "its output has ended, and the agent never had a result of it";
                    Part::Ended(StepStatus::Lost { reason: reason.to_owned() })
                } else {
                    Part::Broken("the rest of its output does not come".to_owned())
                }),
            }
        }
    }

    /// What it means that the agent, which has the stage, gives nothing of the
    /// step: it may never have got it.
    fn judge(&self, error: CallError) -> Result<Part, ExecutorError> {
        if let CallError::Refused {
            status: StatusCode::BAD_REQUEST,
            ..
        } = error
        {
            return Err(ExecutorError::UnknownStep {
                machine: self.lease.machine_id().clone(),
                step: self.id.clone(),
            });
        }
        match fault(error, self.lease, &self.attempted) {
            Fault::Broken(reason) => Ok(Part::Broken(reason)),
            Fault::Final(error) => Err(error),
        }
    }

    /// What has become of it can't be known any more; the log says so too.
    async fn forgotten(&self, log: &mut dyn LogSink) -> Result<StepStatus, ExecutorError> {
        if let Some(answer) = &self.answer {
            let status = self.status(answer)?;
            log.gap(self.id, FORGOTTEN).await.map_err(|e| self.log(e))?;
            return Ok(status);
        }
        log.gap(self.id, FORGOTTEN).await.map_err(|e| self.log(e))?;
        let reason = FORGOTTEN.to_owned();
        Ok(StepStatus::Lost { reason })
    }

    fn status(&self, answer: &PollStepAnswer) -> Result<StepStatus, ExecutorError> {
        let status = convert::status(answer);
        status.map_err(|reason| failed(self.lease, &self.attempted, reason))
    }

    fn log(&self, source: LogSinkError) -> ExecutorError {
        ExecutorError::Log {
            step: self.id.clone(),
            source,
        }
    }
}

async fn poll(
    requests: &Requests,
    name: &str,
    limit: Duration,
) -> Result<PollStepAnswer, CallError> {
    let body = encode(&PollRequest {
        id: name.to_owned(),
    });
    requests.post("/poll_step", &body, limit).await
}
