//! How a story says durations, counts and the ends of steps. Pure.

use std::time::Duration;

use crate::step::{StepOutcome, StepStatus};

/// A duration for a person: `340 ms`, `12 s`, `3 min 5 s`, `1 h 2 min`, `3 d 4 h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |big, big_unit, small, small_unit| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// `1 step`, `2 steps`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The first line, without what announces further ones: a summary is one
/// sentence, and a console's last lines are in the story.
pub(super) fn shortly(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    match line
        .strip_suffix(':')
        .and_then(|line| line.rsplit_once("; "))
    {
        Some((before, _)) => before,
        None => line,
    }
}

/// How a step ended: `exit code 2 after 3 s`.
pub(super) fn outcome(outcome: &StepOutcome) -> String {
    let took = span(outcome.ended_at.since(outcome.started_at));
    match &outcome.status {
        StepStatus::Lost { reason } => format!("lost after {took}: {reason}"),
        told => format!("{} after {took}", status(told)),
    }
}

/// How a step ended, without its time.
pub(super) fn status(status: &StepStatus) -> String {
    match status {
        StepStatus::Exited { code } => format!("exit code {code}"),
        StepStatus::Signalled { signal } => format!("ended by signal {signal}"),
        StepStatus::OutOfMemory => "out of memory".to_owned(),
        StepStatus::TimedOut => "over its time".to_owned(),
        StepStatus::Cancelled => "cancelled".to_owned(),
        StepStatus::NotStarted { reason } => format!("not started: {reason}"),
        StepStatus::Lost { reason } => format!("lost: {reason}"),
    }
}
