//! From the library's words to the messages of `builds.proto`. Pure.

use vmpool_core::journal::{Event, RowKey, StageRecord};
use vmpool_core::pool::{Coming, Origin, Progress};
use vmpool_core::stage::StageState;
use vmpool_core::{Lease, PoolName, StepOutcome, StepStatus};
use vmpool_proto::v1;
use vmpool_proto::v1::acquire_progress::Progress as Stands;

pub(super) fn lease(lease: &Lease) -> v1::Lease {
    let machine = lease.machine();
    let address = machine.address.map(|address| address.to_string());
    let (origin, waited) = match lease.origin() {
        Origin::Warm => (v1::Origin::Warm, 0),
        Origin::Waited(waited) => {
            let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            (v1::Origin::Waited, waited)
        }
        Origin::Attached => (v1::Origin::Attached, 0),
    };
    v1::Lease {
        stage_id: lease.stage().to_string(),
        machine_id: machine.id.to_string(),
        pool: machine.pool.to_string(),
        address: address.unwrap_or_default(),
        claimed_at_unix_ms: lease.claimed_at().0,
        deadline_unix_ms: lease.deadline().0,
        origin: origin.into(),
        waited_ms: waited,
    }
}

/// How a request for a machine stands.
pub(super) fn progress(progress: Progress) -> v1::AcquireProgress {
    let stands = match progress {
        Progress::None => Stands::Queued(v1::Queued::default()),
        Progress::Waiting { position, coming } => match coming {
            Coming::Booting => Stands::Booting(v1::Booting { position }),
            Coming::Launching => Stands::Launching(v1::Launching { position }),
            Coming::Nothing { why } => Stands::Queued(v1::Queued {
                position,
                why: why.unwrap_or_default(),
            }),
        },
        Progress::Claimed { machine } => Stands::Preparing(v1::Preparing {
            machine_id: machine.to_string(),
        }),
    };
    v1::AcquireProgress {
        progress: Some(stands),
        ..v1::AcquireProgress::default()
    }
}

pub(super) fn ready(lease: v1::Lease) -> v1::AcquireProgress {
    v1::AcquireProgress {
        pool: lease.pool.clone(),
        progress: Some(Stands::Ready(lease)),
    }
}

pub(super) fn result(outcome: &StepOutcome) -> v1::StepResult {
    use v1::StepStatus as S;
    let mut result = v1::StepResult {
        started_at_unix_ms: outcome.started_at.0,
        ended_at_unix_ms: outcome.ended_at.0,
        output_end: outcome.log_end,
        ..v1::StepResult::default()
    };
    let status = match &outcome.status {
        StepStatus::Exited { code } => {
            result.exit_code = *code;
            S::Exited
        }
        StepStatus::Signalled { signal } => {
            result.signal = *signal;
            S::Signalled
        }
        StepStatus::OutOfMemory => S::OutOfMemory,
        StepStatus::TimedOut => S::TimedOut,
        StepStatus::Cancelled => S::Cancelled,
        StepStatus::NotStarted { reason } => {
            result.reason.clone_from(reason);
            S::NotStarted
        }
        StepStatus::Lost { reason } => {
            result.reason.clone_from(reason);
            S::Lost
        }
        other => {
            result.reason = format!("it ended as {other:?}");
            S::Unspecified
        }
    };
    result.status = status.into();
    result
}

/// A stage as the journal has it.
pub(super) fn stage(record: &StageRecord) -> v1::GetStageResponse {
    let row = &record.stage;
    let (state, ended) = match &row.state {
        StageState::Claimed => (v1::StageState::Claimed, String::new()),
        StageState::Waiting => (v1::StageState::Waiting, String::new()),
        StageState::Prepared => (v1::StageState::Prepared, String::new()),
        StageState::Ended(end) => (v1::StageState::Ended, end.to_string()),
    };
    let mut steps: Vec<_> = record
        .steps
        .iter()
        .map(|step| v1::StageStep {
            step_id: step.id.to_string(),
            result: step.outcome.as_ref().map(result),
        })
        .collect();
    steps.sort_unstable_by(|one, other| one.step_id.cmp(&other.step_id));
    v1::GetStageResponse {
        stage_id: row.id.to_string(),
        pool: row.pool.to_string(),
        // One that waits for its next machine has none.
        machine_id: match state {
            v1::StageState::Waiting => String::new(),
            _ => row.machine.to_string(),
        },
        state: state.into(),
        ended,
        claimed_at_unix_ms: row.claimed_at.0,
        deadline_unix_ms: row.deadline.0,
        steps,
    }
}

/// Something that happened in a pool.
pub(super) fn event(event: &Event, pool: Option<&PoolName>) -> v1::PoolEvent {
    let mut message = v1::PoolEvent {
        seq: event.seq,
        at_unix_ms: event.at.0,
        pool: pool.map(ToString::to_string).unwrap_or_default(),
        what: event.what.to_string(),
        cause: event.cause.to_string(),
        ..v1::PoolEvent::default()
    };
    match &event.key {
        RowKey::Order(order) => message.order_id = order.to_string(),
        RowKey::Machine(machine) => message.machine_id = machine.to_string(),
        RowKey::Stage(stage) => message.stage_id = stage.to_string(),
        RowKey::Step(stage, step) => {
            message.stage_id = stage.to_string();
            message.step_id = step.to_string();
        }
    }
    message
}
