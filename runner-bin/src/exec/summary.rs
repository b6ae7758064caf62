//! What came of a run: the last event, the table at the end, the exit code.

use std::time::Duration;

use serde::Serialize;

use super::events::{Ended, Outcome, millis, some_millis};
use super::name::Name;
use crate::exit::Exit;

/// What came of the whole run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// In one word: the worst of its pipelines.
    pub(crate) result: Outcome,
    /// What the program exits with.
    pub(crate) exit_code: u8,
    /// How long it all took.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    pub(crate) elapsed: Duration,
    /// How long the pool took until it was warm, if it was.
    #[serde(
        rename = "warmed_ms",
        serialize_with = "some_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) warmed: Option<Duration>,
    /// Its pipelines, in the file's order.
    pub(crate) pipelines: Vec<PipelineSummary>,
}

/// What came of one pipeline.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PipelineSummary {
    /// Its name.
    pub(crate) name: Name,
    /// How it ended.
    #[serde(flatten)]
    pub(crate) end: Ended,
    /// The machine it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<MachineSummary>,
    /// Its steps, services first, in the file's order.
    pub(crate) steps: Vec<StepSummary>,
}

/// The machine that a pipeline had.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MachineSummary {
    /// Its id.
    pub(crate) id: String,
    /// From the request to the lease.
    #[serde(rename = "acquired_ms", serialize_with = "millis")]
    pub(crate) acquired: Duration,
    /// It was ready when it was asked for.
    pub(crate) warm: bool,
}

/// What came of one step.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepSummary {
    /// Its name.
    pub(crate) name: Name,
    /// How it ended.
    #[serde(flatten)]
    pub(crate) end: Ended,
    /// From when nothing but the machine held it back until it began.
    #[serde(rename = "wait_ms", serialize_with = "millis")]
    pub(crate) waited: Duration,
    /// From its beginning to its end.
    #[serde(rename = "run_ms", serialize_with = "millis")]
    pub(crate) ran: Duration,
}

impl Summary {
    /// Sums up `pipelines`. An interruption outweighs what it caused.
    pub(crate) fn of(
        pipelines: Vec<PipelineSummary>,
        elapsed: Duration,
        warmed: Option<Duration>,
        interrupted: bool,
    ) -> Self {
        let worst = pipelines.iter().map(|pipeline| pipeline.end.result).max();
        let result = match worst.unwrap_or(Outcome::Success) {
            _ if interrupted => Outcome::Cancelled,
            // A run in which nothing had to be done did it.
            Outcome::Skipped | Outcome::Ignored => Outcome::Success,
            result => result,
        };
        Self {
            result,
            exit_code: exit(result).code(),
            elapsed,
            warmed,
            pipelines,
        }
    }

    /// What the program exits with.
    pub(crate) fn exit(&self) -> Exit {
        exit(self.result)
    }
}

fn exit(result: Outcome) -> Exit {
    match result {
        Outcome::Success | Outcome::Skipped | Outcome::Ignored => Exit::Success,
        Outcome::Failure => Exit::Failed,
        Outcome::NoMachine => Exit::NoMachine,
        Outcome::Cancelled => Exit::Interrupted,
    }
}
