//! Stages and their steps.

use serde::Serialize;
use utoipa::ToSchema;
use vmpool_proto::v1;

use super::{or_null, time_or_null};

/// Stages at one moment, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stages {
    pub(crate) at_unix_ms: u64,
    pub(crate) stages: Vec<Stage>,
}

/// A stage.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stage {
    pub(crate) id: String,
    pub(crate) pool: String,
    /// `waiting`, `claimed`, `preparing`, `prepared` or `ended`.
    pub(crate) state: String,
    /// None: it waits for one.
    pub(crate) machine_id: Option<String>,
    /// None: it is not known any more.
    pub(crate) machine_state: Option<String>,
    /// When it got its machine, or began to wait.
    pub(crate) since_unix_ms: u64,
    /// When it ends at the latest. None: it waits.
    pub(crate) deadline_unix_ms: Option<u64>,
    /// How it ended. None: it goes on.
    pub(crate) ended: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// A step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    pub(crate) id: String,
    /// `running`, `exited`, `signalled`, `out_of_memory`, `timed_out`,
    /// `cancelled`, `not_started` or `lost`.
    pub(crate) state: String,
    /// The exit code, or the signal's number.
    pub(crate) code: Option<i32>,
    /// Why it was not started, or is lost.
    pub(crate) reason: Option<String>,
    /// By the machine's clock. None: it goes on.
    pub(crate) started_at_unix_ms: Option<u64>,
    /// By the machine's clock. None: it goes on.
    pub(crate) ended_at_unix_ms: Option<u64>,
    /// Bytes of its whole log. None: it goes on.
    pub(crate) log_bytes: Option<u64>,
}

impl From<&v1::StagesResponse> for Stages {
    fn from(all: &v1::StagesResponse) -> Self {
        Self {
            at_unix_ms: all.at_unix_ms,
            stages: all.stages.iter().map(Stage::from).collect(),
        }
    }
}

impl From<&v1::Stage> for Stage {
    fn from(stage: &v1::Stage) -> Self {
        Self {
            id: stage.id.clone(),
            pool: stage.pool.clone(),
            state: stage.state.clone(),
            machine_id: or_null(&stage.machine_id),
            machine_state: or_null(&stage.machine_state),
            since_unix_ms: stage.since_unix_ms,
            deadline_unix_ms: time_or_null(stage.deadline_unix_ms),
            ended: or_null(&stage.ended),
            steps: stage.steps.iter().map(Step::from).collect(),
        }
    }
}

impl From<&v1::StepState> for Step {
    fn from(step: &v1::StepState) -> Self {
        let over = step.ended_at_unix_ms > 0;
        Self {
            id: step.id.clone(),
            state: step.state.clone(),
            code: step.code,
            reason: or_null(&step.reason),
            started_at_unix_ms: time_or_null(step.started_at_unix_ms),
            ended_at_unix_ms: time_or_null(step.ended_at_unix_ms),
            log_bytes: over.then_some(step.log_bytes),
        }
    }
}
