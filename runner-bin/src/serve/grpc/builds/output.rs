//! A step's output as it grows, and its result.
//!
//! The output is read from the log's file, by whichever runner is asked, when
//! the caller takes more: nothing is kept for one that is slow. The result is
//! told by the runner that has the pool.

use std::time::Duration;

use futures_util::stream;
use tokio::time::Instant;
use tonic::Status;
use vmpool_core::stage::StepHash;
use vmpool_core::{StageId, StepId};
use vmpool_proto::v1::run_event::Event;
use vmpool_proto::v1::{Output, RunEvent, StepResult};

use super::acquire::passed;
use super::asked::Asked;
use super::failure::{Failure, Reason, moved, over_time};
use super::{Builds, Sent};
use crate::serve::logs::Part;

/// The most that is in one message.
const MOST_AT_ONCE: usize = 64 << 10;

/// Reading is begun anew after this; it says nothing.
const READ_AGAIN: Duration = Duration::from_secs(30);

/// The rest of an output that another runner wrote to a directory that is
/// shared may take so long to be seen here.
const REST: Duration = Duration::from_secs(10);

/// A step that is followed.
pub(super) struct Following {
    pub(super) builds: Builds,
    pub(super) ended: Asked,
    /// What the step is, where the caller has said so: nobody is shown what
    /// another step of the same id has printed.
    pub(super) given: Option<StepHash>,
    pub(super) stage: StageId,
    pub(super) step: StepId,
    /// Where the output is wanted from.
    pub(super) from: u64,
    pub(super) until: Option<Instant>,
}

struct Reading {
    of: Following,
    /// Where the next byte is.
    at: u64,
    /// How the step ended, once that is known, and until when its last bytes
    /// are waited for.
    result: Option<(StepResult, Instant)>,
}

/// What comes next.
enum Piece {
    Output(Part),
    /// There is no more output.
    Result(StepResult),
}

/// Whether the stream goes on.
enum Next {
    More(RunEvent),
    Last(Result<RunEvent, Status>),
}

/// The output from where it is wanted, and the result.
pub(super) fn follow(of: Following) -> Sent<RunEvent> {
    let reading = Reading {
        at: of.from,
        of,
        result: None,
    };
    Box::pin(stream::unfold(Some(reading), async |reading| {
        let mut reading = reading?;
        match reading.next().await {
            Next::More(event) => Some((Ok(event), Some(reading))),
            Next::Last(end) => Some((end, None)),
        }
    }))
}

impl Reading {
    async fn next(&mut self) -> Next {
        match self.piece().await {
            Ok(Piece::Output(part)) => {
                self.at += part.bytes.len() as u64;
                Next::More(event(Event::Output(Output {
                    offset: part.offset,
                    data: part.bytes.into(),
                })))
            }
            Ok(Piece::Result(mut result)) => {
                if self.at < result.output_end {
                    let end = result.output_end;
                    result.output_missing = format!("the log ends at {} of {end}", self.at);
                }
                Next::Last(Ok(event(Event::Result(result))))
            }
            Err(status) => Next::Last(Err(status)),
        }
    }

    async fn piece(&mut self) -> Result<Piece, Status> {
        let leaving = self.of.builds.leaving.clone();
        loop {
            let now = Instant::now();
            let (most, until) = match &self.result {
                Some((result, until)) if self.at >= result.output_end || now >= *until => {
                    return Ok(Piece::Result(result.clone()));
                }
                Some((result, until)) => {
                    let left = usize::try_from(result.output_end - self.at);
                    (left.unwrap_or(MOST_AT_ONCE).min(MOST_AT_ONCE), *until)
                }
                None => (MOST_AT_ONCE, now + READ_AGAIN),
            };
            let Following {
                builds,
                ended,
                given,
                stage,
                step,
                from,
                until: deadline,
            } = &mut self.of;
            let waits = self.result.is_none();
            let part = tokio::select! {
                biased;
                () = leaving.cancelled() => return Err(moved()),
                ended = ended.answer::<StepResult>(), if waits => {
                    let ended = ended?;
                    if *from > ended.output_end {
                        return Err(beyond(*from, ended.output_end));
                    }
                    self.result = Some((ended, Instant::now() + REST));
                    continue;
                }
                () = passed(*deadline) => return Err(over_time()),
                part = builds.logs.read_more(stage, step, self.at, most, until) => part,
            };
            let part = part.map_err(|error| {
                let message = format!("read the output of step {step}: {error}");
                Status::from(Failure::new(Reason::OutputNotRead, message))
            })?;
            if !part.bytes.is_empty() {
                // It has printed, so it is written down.
                if let Some(given) = given.take() {
                    builds.is_the_same(stage, step, given).await?;
                }
                return Ok(Piece::Output(part));
            }
        }
    }
}

fn beyond(from: u64, end: u64) -> Status {
    let message = format!("from_offset: {from} is beyond the output's end, {end}");
    Failure::new(Reason::OffsetBeyondOutput, message).into()
}

fn event(event: Event) -> RunEvent {
    RunEvent { event: Some(event) }
}
