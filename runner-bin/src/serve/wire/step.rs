//! `POST /step`: one command of a stage, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use lite_engine::output;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use vmpool_core::{
    Limits, Returned, Returns, Secret, StageId, Step, StepId, StepOutcome, StepStatus,
};
use vmpool_proto::incumbent::{Output, PollStepAnswer, WantedOutput};

use super::Answer;
use super::decode::decode;

/// The exit code of a step that the agent could not carry out to its end.
const EXECUTOR_FAILED: i32 = 255;

/// Output values go through base64 where this variable is `true`.
const NEW_OUTPUTS: &str = "CI_NEW_VERSION_GODOTENV";

/// The exit code of a step that the kernel killed at its limit of memory.
const KILLED: i32 = 137;

/// What is read of the body.
#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
pub(crate) struct ExecuteVm {
    stage_runtime_id: String,
    ip_address: String,
    start_step_request: StartStep,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
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
    outputs: Vec<WantedOutput>,
    output_vars: Vec<String>,
    output_var_file: String,
    secret_var_file: String,
    log_key: String,
    run_test_v2: RunTests,
    test_report: Report,
    workload_identities: Vec<Value>,
    egress_policy: Egress,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct RunTests {
    commands: Vec<String>,
    entrypoint: Vec<String>,
    intelligence_mode: bool,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Report {
    junit: Junit,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Junit {
    paths: Vec<String>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default)]
struct Egress {
    proxy_url: String,
}

/// A step as it is meant.
#[derive(Debug, Clone)]
pub(crate) struct MeantStep {
    pub(crate) stage: StageId,
    pub(crate) step: Step,
    /// The outputs that the caller has named, in its order; none: all of them.
    pub(crate) outputs: Vec<WantedOutput>,
    /// The key of its log at the log service; empty: it is not wanted there.
    pub(crate) log_key: String,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
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
    pub(crate) fn read(body: &[u8]) -> Result<MeantStep, Answer> {
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
        request.start_step_request.step(stage)
    }
}

impl StartStep {
    fn step(self, stage: StageId) -> Result<MeantStep, Answer> {
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
        let (entrypoint, mut commands) = match self.kind.as_str() {
            "RunTestsV2" => (self.run_test_v2.entrypoint, self.run_test_v2.commands),
            _ => (self.run.entrypoint, self.run.commands),
        };
        let wanted: Vec<_> = if self.outputs.is_empty() {
            let names = self.output_vars.iter();
            names.map(|name| (name.as_str(), name.as_str())).collect()
        } else {
            let outputs = self.outputs.iter();
            outputs
                .map(|o| (o.key.as_str(), o.value.as_str()))
                .collect()
        };
        if !wanted.is_empty() {
            let Some(first) = commands.first_mut().filter(|_| !entrypoint.is_empty()) else {
                return Err(failed(
                    "output variable should not be set for unset entrypoint or command",
                ));
            };
            let wanted = wanted.into_iter();
            let wanted: Vec<_> = wanted
                .map(|(key, variable)| output::Wanted { key, variable })
                .collect();
            let encoded = self
                .environment
                .get(NEW_OUTPUTS)
                .is_some_and(|it| it == "true");
            *first = output::capture(&entrypoint, first, &wanted, encoded);
        }
        if entrypoint.first().is_none_or(String::is_empty) {
            return Err(failed("step entrypoint cannot be empty"));
        }
        let (env, secret_env) = environment(self.environment, self.secrets);
        let some = |text: String| (!text.is_empty()).then_some(text);
        let file = |named: String| some(named).map(Into::into);
        let step = Step {
            id,
            // As the incumbent: the commands are further arguments.
            command: [entrypoint, commands].concat(),
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
            returns: Some(Returns {
                outputs_file: file(self.output_var_file),
                secrets_file: file(self.secret_var_file),
            }),
        };
        Ok(MeantStep {
            stage,
            step,
            outputs: self.outputs,
            log_key: self.log_key,
        })
    }

    /// What would change the step's result and can't be honoured.
    fn unsupported(&self) -> Option<(&'static str, String)> {
        let no = |what: &str| format!("{what} are not supported");
        // Anything but the two kinds of tests means `Run`, as with the incumbent.
        let own_tests = self.kind == "RunTest";
        let selects = self.kind == "RunTestsV2" && self.run_test_v2.intelligence_mode;
        let returns = !self.outputs.is_empty() || !self.output_vars.is_empty();
        [
            ("kind", own_tests, "steps of kind RunTest"),
            (
                "run_test_v2.intelligence_mode",
                selects,
                "tests that are selected",
            ),
            ("image", !self.image.is_empty(), "steps in containers"),
            ("detach", self.detach, "steps in the background"),
            ("files", !self.files.is_empty(), "files of a single step"),
            (
                "test_report.junit.paths",
                !self.test_report.junit.paths.is_empty(),
                "test reports",
            ),
            (
                "workload_identities",
                !self.workload_identities.is_empty(),
                "workload identities",
            ),
            (
                "egress_policy.proxy_url",
                !self.egress_policy.proxy_url.is_empty(),
                "limits to what a step may reach",
            ),
            (
                "user",
                returns && !self.user.is_empty(),
                "output variables of another user's steps",
            ),
        ]
        .into_iter()
        .find(|(_, asked, _)| *asked)
        .map(|(field, _, what)| (field, no(what)))
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

/// The step ended like this, and returned this, of which the caller has named
/// `wanted`.
pub(crate) fn outcome(
    outcome: &StepOutcome,
    returned: Returned,
    wanted: &[WantedOutput],
) -> Answer {
    if let Some(trouble) = returned
        .trouble
        .as_deref()
        .filter(|_| outcome.status.is_success())
    {
        return failed(trouble);
    }
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
        outputs: plain(&returned),
        output_v2: typed(&returned, wanted),
        envs: returned.exported,
        ..PollStepAnswer::default()
    })
}

/// All outputs that are no secrets.
fn plain(returned: &Returned) -> BTreeMap<String, String> {
    let outputs = returned.outputs.iter().filter(|output| !output.is_secret);
    outputs
        .map(|output| (output.name.clone(), output.value.clone()))
        .collect()
}

/// The outputs with their types: those that are wanted, else all; and what the
/// step wrote as secrets.
fn typed(returned: &Returned, wanted: &[WantedOutput]) -> Vec<Output> {
    let typed = |name: &str, value: &str, kind: &str| Output {
        key: name.to_owned(),
        value: value.to_owned(),
        kind: kind.to_owned(),
    };
    let plain = || returned.outputs.iter().filter(|output| !output.is_secret);
    let mut all: Vec<_> = if wanted.is_empty() {
        plain()
            .map(|o| typed(&o.name, &o.value, "STRING"))
            .collect()
    } else {
        let named = wanted.iter().filter_map(|wanted| {
            let output = plain().find(|output| output.name == wanted.key)?;
            let kind = match wanted.kind.as_str() {
                "" => "STRING",
                kind => kind,
            };
            Some(typed(&output.name, &output.value, kind))
        });
        named.collect()
    };
    let secrets = returned.outputs.iter().filter(|output| output.is_secret);
    all.extend(secrets.map(|o| typed(&o.name, &o.value, "SECRET")));
    all
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
