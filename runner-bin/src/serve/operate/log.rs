//! A step's log, part by part, as fast as it is read: one part is in memory for
//! each reader, and nobody waits for a slow one.
//!
//! Any runner may read it: the logs' directory and the journal are the
//! deployment's. A reader that comes again with its offset misses nothing and
//! gets nothing twice.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, timeout};
use tonic::Status;
use vmpool_core::{StageId, StepId};
use vmpool_proto::v1::{LogPart, Stage};

use crate::messages;
use crate::serve::grpc::{READING, Service, moved, silent_journal};

/// The largest part.
const MOST: usize = 64 << 10;

/// The journal is asked so often whether a log that does not grow has ended.
const LOOK: Duration = Duration::from_secs(1);

pub(in crate::serve) type Parts = Pin<Box<dyn Stream<Item = Result<LogPart, Status>> + Send>>;

/// What is read, and from where on.
struct Reading {
    service: Service,
    stage: StageId,
    step: StepId,
    offset: u64,
    follow: bool,
}

/// Whether there will be more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// Perhaps.
    GoesOn,
    /// Nobody has asked for the step yet.
    NotBegun,
    /// No.
    Over,
}

/// The log from `offset` on. With `follow` it ends when the step has; without,
/// where the log ends now.
///
/// # Errors
/// There is no such stage or step, or none can be any more.
pub(in crate::serve) async fn parts(
    service: &Service,
    stage: StageId,
    step: StepId,
    offset: u64,
    follow: bool,
) -> Result<Parts, Status> {
    let reading = Reading {
        service: service.clone(),
        stage,
        step,
        offset,
        follow,
    };
    if reading.writing().await? == Writing::NotBegun && !follow {
        let waiting = Stage {
            id: reading.stage.to_string(),
            ..Stage::default()
        };
        return Err(no_such_step(&waiting, &reading.step));
    }
    let first = reading.read(0).await?;
    if offset > first.log_bytes && !follow {
        let length = first.log_bytes;
        let told = format!("offset: {offset} is beyond the log's end at {length}");
        return Err(Status::out_of_range(told));
    }
    Ok(Box::pin(stream::unfold(Some(reading), async |reading| {
        let mut reading = reading?;
        match reading.next().await {
            Ok(part) if part.data.is_empty() => Some((Ok(part), None)),
            Ok(part) => Some((Ok(part), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    })))
}

impl Reading {
    /// The next part; without bytes: the last one.
    async fn next(&mut self) -> Result<LogPart, Status> {
        let leaving = self.service.leaving.clone();
        loop {
            if leaving.is_cancelled() {
                return Err(moved());
            }
            let part = self.read(MOST).await?;
            if !part.data.is_empty() {
                self.offset += part.data.len() as u64;
                return Ok(part);
            }
            match self.writing().await? {
                Writing::Over => {
                    // What came between the two looks.
                    let mut part = self.read(MOST).await?;
                    if part.data.is_empty() {
                        part.over = true;
                    }
                    self.offset += part.data.len() as u64;
                    return Ok(part);
                }
                Writing::GoesOn | Writing::NotBegun if !self.follow => return Ok(part),
                Writing::GoesOn | Writing::NotBegun => {}
            }
            let Self { stage, step, .. } = &*self;
            let logs = &self.service.logs;
            let grown = logs.read_more(stage, step, self.offset, 1, Instant::now() + LOOK);
            tokio::select! {
                () = leaving.cancelled() => return Err(moved()),
                grown = grown => drop(grown.map_err(|error| unreadable(&error))?),
            }
        }
    }

    async fn read(&self, most: usize) -> Result<LogPart, Status> {
        let logs = &self.service.logs;
        let part = logs.read(&self.stage, &self.step, self.offset, most).await;
        let part = part.map_err(|error| unreadable(&error))?;
        Ok(LogPart {
            offset: part.offset,
            data: part.bytes,
            log_bytes: part.length,
            over: false,
        })
    }

    async fn writing(&self) -> Result<Writing, Status> {
        let record = timeout(READING, self.service.runner.journal().stage(&self.stage)).await;
        let record = record.map_err(|_| silent_journal())?;
        let record = record.map_err(|error| Status::unavailable(error.to_string()))?;
        let Some(record) = record else {
            if self.service.waits(&self.stage) {
                return Ok(Writing::NotBegun);
            }
            let stage = &self.stage;
            return Err(Status::not_found(format!("there is no stage {stage}")));
        };
        let step = record.steps.iter().find(|step| step.id == self.step);
        match step {
            Some(step) if step.outcome.is_some() => Ok(Writing::Over),
            Some(_) => Ok(Writing::GoesOn),
            None if record.stage.state.is_ended() || !self.follow => {
                Err(no_such_step(&messages::stage(&record, None), &self.step))
            }
            None => Ok(Writing::NotBegun),
        }
    }
}

/// Nobody has asked for the step; those that there are may help.
pub(in crate::serve) fn no_such_step(stage: &Stage, step: &StepId) -> Status {
    let id = &stage.id;
    let known: Vec<_> = stage.steps.iter().map(|step| step.id.as_str()).collect();
    let known = if known.is_empty() {
        "it has none".to_owned()
    } else {
        format!("it has {}", known.join(", "))
    };
    Status::not_found(format!("stage {id} has no step {step}: {known}"))
}

fn unreadable(error: &std::io::Error) -> Status {
    Status::unavailable(format!("read the log: {error}"))
}
