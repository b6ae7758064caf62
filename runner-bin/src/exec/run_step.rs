//! One step on a prepared stage: runs it, ends it when it is to stop, and says
//! in the words of events how it ended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vmpool_core::pool::NoteError;
use vmpool_core::stage::{Prepared, StageError};
use vmpool_core::{ExecutorError, Stage, Step, StepOutcome, StepStatus};

use super::events::{Ended, Events, Outcome};
use super::name::Name;
use super::step_log::StepLog;

/// How long a cancelled step may take to end. The stage's cleanup takes the rest.
const CANCEL_PATIENCE: Duration = Duration::from_secs(20);

/// A cancel that overtakes the step's start finds no step, and is made again.
const CANCEL_AGAIN: Duration = Duration::from_millis(200);

/// What became of a step.
#[derive(Debug)]
pub(crate) enum StepEnd {
    /// It ended by itself, or could not be started.
    Ended(Ended),
    /// It was stopped, because it was to be.
    Stopped,
    /// Its machine was lost, and why.
    MachineLost(String),
}

/// Runs `step` until it ends, or has ended because `stop` was cancelled.
pub(crate) async fn run_step(
    stage: &Stage<Prepared>,
    step: &Step,
    (pipeline, name): (&Name, &Name),
    events: &Events,
    stop: &CancellationToken,
) -> StepEnd {
    let mut log = StepLog::new(pipeline, name, events);
    let result = execute(stage, step, &mut log, stop).await;
    // A screen that is closed has ended the run already.
    let _ = log.finish().await;
    match result {
        Some(Ok(outcome)) => ended(step, &outcome),
        Some(Err(error)) => failed(&error),
        None => StepEnd::Stopped,
    }
}

/// The step's outcome; none where it was stopped and did not end in time.
async fn execute(
    stage: &Stage<Prepared>,
    step: &Step,
    log: &mut StepLog,
    stop: &CancellationToken,
) -> Option<Result<StepOutcome, StageError>> {
    let mut execution = std::pin::pin!(stage.execute(step, log));
    tokio::select! {
        result = &mut execution => return Some(result),
        () = stop.cancelled() => {}
    }
    let cancel = async {
        loop {
            if let Err(error) = stage.cancel(&step.id).await {
                tracing::debug!(step = %step.id, %error, "the step was not cancelled");
            }
            tokio::time::sleep(CANCEL_AGAIN).await;
        }
    };
    tokio::select! {
        result = &mut execution => Some(result),
        () = cancel => None,
        () = tokio::time::sleep(CANCEL_PATIENCE) => None,
    }
}

fn ended(step: &Step, outcome: &StepOutcome) -> StepEnd {
    let failure = |reason: String| StepEnd::Ended(Ended::because(Outcome::Failure, reason));
    match &outcome.status {
        StepStatus::Exited { code: 0 } => StepEnd::Ended(Ended {
            exit_code: Some(0),
            ..Ended::success()
        }),
        StepStatus::Exited { code } => StepEnd::Ended(Ended {
            exit_code: Some(*code),
            ..Ended::because(Outcome::Failure, format!("exit code {code}"))
        }),
        StepStatus::Signalled { signal } => failure(format!("killed by {}", signal_name(*signal))),
        StepStatus::OutOfMemory => failure("out of memory".to_owned()),
        StepStatus::TimedOut => failure(match step.timeout {
            Some(timeout) => format!("over its time of {}", crate::screen::human(timeout)),
            None => "over its time".to_owned(),
        }),
        StepStatus::Cancelled => StepEnd::Stopped,
        StepStatus::NotStarted { reason } => failure(format!("not started: {reason}")),
        StepStatus::Lost { reason } => StepEnd::MachineLost(reason.clone()),
        other => failure(format!("{other:?}")),
    }
}

fn failed(error: &StageError) -> StepEnd {
    match error {
        StageError::Executor(ExecutorError::MachineLost { reason, .. }) => {
            StepEnd::MachineLost(reason.clone())
        }
        // The pool ended the stage, because it saw that the machine is gone.
        StageError::Note(
            NoteError::Over { .. } | NoteError::Unknown { .. } | NoteError::Refused { .. },
        ) => StepEnd::MachineLost(error.to_string()),
        _ => StepEnd::Ended(Ended::because(Outcome::Failure, told(error))),
    }
}

/// An error with its sources, on one line.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// The signals that end steps in practice, by name.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return format!("signal {signal}"),
    };
    format!("{name} (signal {signal})")
}
