//! Stages and their steps.

use vmpool_core::journal::{MachineRow, StageRecord, StepRow};
use vmpool_core::pool::Waiter;
use vmpool_core::stage::StageState;
use vmpool_core::{PoolName, StepOutcome, StepStatus};
use vmpool_proto::v1;

/// A stage that has or had a machine, of which there may be no row any more. One
/// that waits for its next machine has none.
pub(crate) fn stage(record: &StageRecord, machine: Option<&MachineRow>) -> v1::Stage {
    let row = &record.stage;
    let ended = match &row.state {
        StageState::Ended(end) => end.to_string(),
        _ => String::new(),
    };
    let has = (row.state != StageState::Waiting).then_some(&row.machine);
    let machine = machine.filter(|_| has.is_some());
    v1::Stage {
        id: row.id.to_string(),
        pool: row.pool.to_string(),
        state: row.state.as_str().to_owned(),
        machine_id: has.map(ToString::to_string).unwrap_or_default(),
        machine_state: machine.map(|row| row.state.to_string()).unwrap_or_default(),
        since_unix_ms: row.claimed_at.0,
        deadline_unix_ms: row.deadline.0,
        ended,
        steps: record.steps.iter().map(|row| step(row)).collect(),
    }
}

/// The state of a stage that waits for a machine.
pub(crate) const WAITING: &str = "waiting";

/// A stage that waits for a machine.
pub(crate) fn waiting(pool: &PoolName, waiter: &Waiter) -> v1::Stage {
    v1::Stage {
        id: waiter.stage.to_string(),
        pool: pool.to_string(),
        state: WAITING.to_owned(),
        since_unix_ms: waiter.since.0,
        ..v1::Stage::default()
    }
}

fn step(row: &StepRow) -> v1::StepState {
    let id = row.id.to_string();
    let Some(outcome) = &row.outcome else {
        return v1::StepState {
            id,
            state: "running".to_owned(),
            ..v1::StepState::default()
        };
    };
    let (state, code, reason) = ended(outcome);
    v1::StepState {
        id,
        state: state.to_owned(),
        code,
        reason: reason.to_owned(),
        started_at_unix_ms: outcome.started_at.0,
        ended_at_unix_ms: outcome.ended_at.0,
        log_bytes: outcome.log_end,
    }
}

fn ended(outcome: &StepOutcome) -> (&'static str, Option<i32>, &str) {
    match &outcome.status {
        StepStatus::Exited { code } => ("exited", Some(*code), ""),
        StepStatus::Signalled { signal } => ("signalled", Some(*signal), ""),
        StepStatus::OutOfMemory => ("out_of_memory", None, ""),
        StepStatus::TimedOut => ("timed_out", None, ""),
        StepStatus::Cancelled => ("cancelled", None, ""),
        StepStatus::NotStarted { reason } => ("not_started", None, reason),
        StepStatus::Lost { reason } => ("lost", None, reason),
        _ => ("ended", None, ""),
    }
}
