//! `POST /step`: one command of a stage, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use vmpool_core::{Limits, Secret, StageId, Step, StepId, StepOutcome, StepStatus};
use vmpool_proto::incumbent::PollStepAnswer;

use super::Answer;
use super::decode::decode;

/// The exit code of a step that the agent could not carry out to its end.
const EXECUTOR_FAILED: i32 = 255;

/// The exit code of a step that the kernel killed at its limit of memory.
const KILLED: i32 = 137;

/// What is read of the body.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ExecuteVm {
    stage_runtime_id: String,
    ip_address: String,
    start_step_request: StartStep,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StartStep {
    id: String,
    kind: String,
    run: Run,
    environment: BTreeMap<String, String>,
    secrets: Vec<String>,
    working_dir: String,
    user: String,
    /// In seconds; 0: none is named.
    timeout: u64,
    /// In bytes; 0: none is named.
    mem_limit: i64,
    image: String,
    detach: bool,
    files: Vec<Value>,
    outputs: Vec<Value>,
    output_vars: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Run {
    commands: Vec<String>,
    entrypoint: Vec<String>,
}

// Commands, environment and secrets are nobody's business.
impl fmt::Debug for ExecuteVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecuteVm")
            .field("stage_runtime_id", &self.stage_runtime_id)
            .field("id", &self.start_step_request.id)
            .finish_non_exhaustive()
    }
}

impl ExecuteVm {
    /// The step that the body asks for, and its stage.
    ///
    /// # Errors
    /// The body is no such request, or asks for what can't be done.
    pub(crate) fn read(body: &[u8]) -> Result<(StageId, Step), Answer> {
        let request: Self = decode(body)?;
        if request.stage_runtime_id.is_empty() {
            return Err(Answer::bad_request(if request.ip_address.is_empty() {
                "either parameter 'id' or 'ip_address' must be provided"
            } else {
                "mandatory field 'stage_runtime_id' in the request body is empty"
            }));
        }
        let stage = StageId::parse(&request.stage_runtime_id);
        let stage = stage.map_err(|e| Answer::bad_request(&format!("stage_runtime_id: {e}")))?;
        Ok((stage, request.start_step_request.step()?))
    }
}

impl StartStep {
    fn step(self) -> Result<Step, Answer> {
        if self.id.is_empty() {
            return Err(Answer::bad_request(
                "mandatory field 'start_step_request.id' in the request body is empty",
            ));
        }
        let id = StepId::parse(&self.id);
        let id = id.map_err(|e| Answer::bad_request(&format!("start_step_request.id: {e}")))?;
        if let Some((field, reason)) = self.unsupported() {
            let error = format!("start_step_request.{field}: {reason}");
            return Err(Answer::bad_request(&error));
        }
        if self.run.entrypoint.is_empty() {
            return Err(failed("step entrypoint cannot be empty"));
        }
        let (env, secret_env) = environment(self.environment, self.secrets);
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Step {
            id,
            // As the incumbent: the commands are further arguments.
            command: [self.run.entrypoint, self.run.commands].concat(),
            env,
            secret_env,
            workdir: some(self.working_dir).map(Into::into),
            user: some(self.user),
            timeout: (self.timeout > 0).then(|| Duration::from_secs(self.timeout)),
            limits: Limits {
                memory: u64::try_from(self.mem_limit)
                    .ok()
                    .filter(|bytes| *bytes > 0),
                processes: None,
            },
        })
    }

    /// What would change the step's result and can't be honoured.
    fn unsupported(&self) -> Option<(&'static str, String)> {
        let no = |what: &str| format!("{what} are not supported");
        // Anything but the two kinds of tests means `Run`, as with the incumbent.
        if matches!(self.kind.as_str(), "RunTest" | "RunTestsV2") {
            return Some((
                "kind",
                format!("steps of kind {} are not supported", self.kind),
            ));
        }
        if !self.image.is_empty() {
            return Some(("image", no("steps in containers")));
        }
        if self.detach {
            return Some(("detach", no("steps in the background")));
        }
        for (field, is_empty) in [
            ("outputs", self.outputs.is_empty()),
            ("output_vars", self.output_vars.is_empty()),
        ] {
            if !is_empty {
                return Some((field, no("output variables")));
            }
        }
        (!self.files.is_empty()).then(|| ("files", no("files of a single step")))
    }
}

/// The step's variables, those that are secrets apart. A secret that is no
/// variable's value may be anywhere in the step, and must be masked, too: it
/// becomes one under a name of ours.
fn environment(
    env: BTreeMap<String, String>,
    secrets: Vec<String>,
) -> (BTreeMap<String, String>, BTreeMap<String, Secret>) {
    let (secret, plain): (BTreeMap<_, _>, BTreeMap<_, _>) = env
        .into_iter()
        .partition(|(_, value)| secrets.contains(value) && !value.is_empty());
    let unnamed = secrets
        .into_iter()
        .filter(|value| !value.is_empty() && !secret.values().any(|named| named == value))
        .enumerate()
        .map(|(n, value)| (format!("VMPOOL_MASKED_{n}"), value))
        .collect::<Vec<_>>();
    let secret = secret
        .into_iter()
        .chain(unnamed)
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    (plain, secret)
}

/// The step ended like this.
pub(crate) fn outcome(outcome: &StepOutcome) -> Answer {
    let (exit_code, error) = match &outcome.status {
        StepStatus::Exited { code: 0 } => (0, String::new()),
        StepStatus::Exited { code } => (*code, format!("exit status {code}")),
        StepStatus::Signalled { signal } => {
            (-1, format!("exit status -1: killed by signal {signal}"))
        }
        StepStatus::OutOfMemory => (KILLED, "oom killed".to_owned()),
        StepStatus::TimedOut => (EXECUTOR_FAILED, "the step was over its time".to_owned()),
        StepStatus::Cancelled => (EXECUTOR_FAILED, "the step was cancelled".to_owned()),
        StepStatus::NotStarted { reason } => (
            EXECUTOR_FAILED,
            format!("the step could not be started: {reason}"),
        ),
        StepStatus::Lost { reason } => (EXECUTOR_FAILED, format!("the step was lost: {reason}")),
        other => (EXECUTOR_FAILED, format!("the step ended as {other:?}")),
    };
    let oom_killed = outcome.status == StepStatus::OutOfMemory;
    Answer::json(&PollStepAnswer {
        exited: true,
        exit_code,
        error,
        oom_killed,
        ..PollStepAnswer::default()
    })
}

/// The step can't be carried out any more.
pub(crate) fn failed(reason: &str) -> Answer {
    Answer::json(&PollStepAnswer {
        exited: true,
        exit_code: EXECUTOR_FAILED,
        error: reason.to_owned(),
        ..PollStepAnswer::default()
    })
}
