//! What happens while `vmpool exec` runs: the only thing that screens see.
//!
//! `--json` prints these, one a line, as they are serialized here. Field names
//! and values are stable: fields may be added, none is renamed or removed.
//! Every line has `event`, which says what it is, and `ms`, the milliseconds
//! since the command began. The last line is always the `summary`.
//!
//! The documentation for users is `docs/exec-events.md`; a test holds it
//! against this file.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use tokio::sync::mpsc;

use super::lines::{End, Piece};
use super::name::Name;
use super::summary::Summary;
use crate::hex::hex;

/// Events that wait for the screen: a step that prints faster than the screen
/// takes is slowed down, it fills no memory.
const WAITING: usize = 512;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The file is read and what will run is known.
    Started {
        /// The pipeline file.
        file: String,
        /// Machines at most at the same time.
        jobs: u32,
        /// What will run.
        pipelines: Vec<PlannedPipeline>,
    },
    /// Something that a person should know; the run goes on.
    Warning {
        /// What.
        message: String,
    },
    /// The pool is on its way to being warm.
    Warming {
        /// Machines ready.
        ready: u32,
        /// Machines that shall be.
        wanted: u32,
    },
    /// A pipeline has its machine.
    Acquired {
        /// The pipeline.
        pipeline: Name,
        /// The machine.
        machine: String,
        /// From the request to the lease.
        #[serde(rename = "acquired_ms", serialize_with = "millis")]
        took: Duration,
        /// It was ready when it was asked for.
        warm: bool,
    },
    /// A step runs.
    StepStarted {
        /// The pipeline.
        pipeline: Name,
        /// The step.
        step: Name,
    },
    /// A step printed a line, or a part of one.
    Log(LogLine),
    /// A step is over, or will not run.
    StepEnded {
        /// The pipeline.
        pipeline: Name,
        /// The step.
        step: Name,
        /// How.
        #[serde(flatten)]
        end: Ended,
        /// How long it ran.
        #[serde(rename = "run_ms", serialize_with = "millis")]
        ran: Duration,
    },
    /// A pipeline is over, or will not run.
    PipelineEnded {
        /// The pipeline.
        pipeline: Name,
        /// How.
        #[serde(flatten)]
        end: Ended,
    },
    /// A signal came: steps are cancelled and machines ended.
    Interrupted {
        /// `SIGINT`, `SIGTERM` or `SIGHUP`.
        signal: &'static str,
    },
    /// The end of it all.
    Summary(Summary),
}

/// A pipeline that will run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PlannedPipeline {
    /// Its name.
    pub(crate) name: Name,
    /// Its steps' names, services first, in the file's order.
    pub(crate) steps: Vec<Name>,
}

/// A line that a step printed, or a part of one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LogLine {
    /// The pipeline.
    pub(crate) pipeline: Name,
    /// The step.
    pub(crate) step: Name,
    /// The text. Bytes that are no UTF-8 are shown as U+FFFD, and then `hex` has them.
    #[serde(flatten, serialize_with = "text")]
    pub(crate) bytes: Vec<u8>,
    /// The characters that ended it; none where the line goes on in the next event.
    pub(crate) end: End,
}

impl LogLine {
    /// `piece` as printed by `step`.
    pub(crate) fn new(pipeline: &Name, step: &Name, piece: Piece) -> Self {
        Self {
            pipeline: pipeline.clone(),
            step: step.clone(),
            bytes: piece.bytes,
            end: piece.end,
        }
    }
}

/// How a step or a pipeline ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Ended {
    /// In one word.
    pub(crate) result: Outcome,
    /// Why, for a person; nothing to say of a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The exit code, where a command exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
}

impl Ended {
    /// An end without an exit code.
    pub(crate) fn because(result: Outcome, reason: impl Into<String>) -> Self {
        Self {
            result,
            reason: Some(reason.into()),
            exit_code: None,
        }
    }

    /// All went well.
    pub(crate) fn success() -> Self {
        Self {
            result: Outcome::Success,
            reason: None,
            exit_code: None,
        }
    }
}

/// How a step, a pipeline or the whole run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It did its work; also a detached step that ran until its pipeline ended.
    Success,
    /// It did not have to run.
    Skipped,
    /// A step failed that may: `failure: ignore`.
    Ignored,
    /// It failed.
    Failure,
    /// No machine was to be had, or the machine was lost.
    NoMachine,
    /// Interrupted.
    Cancelled,
}

/// An event and when it happened, from the command's start.
#[derive(Debug, Serialize)]
pub(crate) struct Stamped {
    /// When.
    #[serde(rename = "ms", serialize_with = "whole_millis")]
    pub(crate) at: Duration,
    /// What.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// The way to the screen. Copies lead to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    to: mpsc::Sender<Stamped>,
    start: Instant,
}

/// The screen takes nothing more: standard output is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct ScreenClosed;

impl Events {
    /// A way to a screen, and its other end.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Stamped>) {
        let (to, from) = mpsc::channel(WAITING);
        (
            Self {
                to,
                start: Instant::now(),
            },
            from,
        )
    }

    /// Shows `event`; waits while the screen is behind.
    ///
    /// # Errors
    /// The screen is closed. Whoever owns the screen ends the run then, so most
    /// callers have nothing to do about it.
    ///
    /// # Cancel safety
    /// A dropped call may not have shown the event.
    pub(crate) async fn send(&self, event: Event) -> Result<(), ScreenClosed> {
        let stamped = Stamped {
            at: self.start.elapsed(),
            event,
        };
        self.to.send(stamped).await.map_err(|_| ScreenClosed)
    }

    /// Shows `event`, if there is still a screen to show it.
    pub(crate) async fn show(&self, event: Event) {
        let _ = self.send(event).await;
    }

    /// A way that does not keep the screen from ending.
    pub(crate) fn downgrade(&self) -> WeakEvents {
        WeakEvents {
            to: self.to.downgrade(),
            start: self.start,
        }
    }

    /// Time since the command began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A way to the screen for who only looks on: the screen ends when all others are done.
#[derive(Debug, Clone)]
pub(crate) struct WeakEvents {
    to: mpsc::WeakSender<Stamped>,
    start: Instant,
}

impl WeakEvents {
    /// As [`Events::show`].
    pub(crate) async fn show(&self, event: Event) {
        if let Some(to) = self.to.upgrade() {
            Events {
                to,
                start: self.start,
            }
            .show(event)
            .await;
        }
    }
}

/// Milliseconds with their fraction, to a microsecond: a warm claim takes less than one.
pub(super) fn millis<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run lasts less than 2^53 microseconds"
    )]
    to.serialize_f64(span.as_micros() as f64 / 1000.0)
}

#[expect(
    clippy::ref_option,
    reason = "serde hands over a reference to the field"
)]
pub(super) fn some_millis<S: Serializer>(
    span: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => millis(span, to),
        None => to.serialize_none(),
    }
}

fn whole_millis<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn text<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap as _;

    let mut map = to.serialize_map(None)?;
    let text = String::from_utf8_lossy(bytes);
    map.serialize_entry("text", &text)?;
    if matches!(text, std::borrow::Cow::Owned(_)) {
        map.serialize_entry("hex", &hex(bytes))?;
    }
    map.end()
}
