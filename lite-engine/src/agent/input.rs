//! What runners send, checked and in our own types (P13).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tonic::Status;
use vmpool_core::agent::{Content, StepRecord};
use vmpool_core::{IdError, Limits, Returns, Secret, SecretBytes, StageId, StepId, Timestamp};
use vmpool_proto::agent::v1::{PrepareRequest, StartStep};

use super::refuse::{chain, invalid};
use super::returns::may_return;
use super::store::Setup;
use crate::host::{PlannedFile, StageError, StagePlan, StartError, StepOrder};
use crate::mask::Style;

/// What of the agent's own environment steps get too, under the stage's.
const INHERITED: &[&str] = &[
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// A stage's preparation.
#[derive(Clone)]
pub(super) struct StageInput {
    pub(super) plan: StagePlan,
    env: BTreeMap<String, String>,
    secrets: Vec<String>,
}

/// A step's start.
#[derive(Clone)]
pub(super) struct StepInput {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    secret_env: BTreeMap<String, Secret>,
    workdir: Option<PathBuf>,
    user: Option<String>,
    timeout: Option<Duration>,
    limits: Limits,
    returns: Option<Returns>,
}

/// Shows neither arguments nor environment (P11).
impl fmt::Debug for StepInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepInput")
            .field("program", &self.command.first())
            .finish_non_exhaustive()
    }
}

/// Shows the plan only, in which contents hide themselves (P11).
impl fmt::Debug for StageInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageInput")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

pub(super) fn stage_id(text: &str) -> Result<StageId, Status> {
    StageId::parse(text).map_err(|error| bad_id("stage_id", &error))
}

pub(super) fn step_id(text: &str) -> Result<StepId, Status> {
    StepId::parse(text).map_err(|error| bad_id("step_id", &error))
}

fn bad_id(field: &str, error: &IdError) -> Status {
    invalid(field, error.to_string())
}

impl StageInput {
    pub(super) fn of(request: PrepareRequest) -> Result<Self, Status> {
        let files = request.files.into_iter().map(|file| PlannedFile {
            path: file.path.into(),
            mode: file.mode,
            content: SecretBytes::new(file.content),
        });
        let plan = StagePlan {
            workdir: request.workdir.map(PathBuf::from),
            files: files.collect(),
        };
        plan.check().map_err(|error| match &error {
            StageError::Invalid { field, .. } => invalid(field, error.to_string()),
            _ => invalid("setup", chain(&error)),
        })?;
        let env = sorted(request.env);
        check_env("env", &env)?;
        Ok(Self {
            plan,
            env,
            secrets: request.secrets,
        })
    }

    /// What the stage's steps get, once its working directory is there.
    pub(super) fn setup(self, workdir: PathBuf) -> Setup {
        Setup {
            workdir,
            env: self.env,
            secrets: self.secrets,
        }
    }
}

impl StepInput {
    pub(super) fn of(request: StartStep) -> Result<Self, Status> {
        let secret_env = request.secret_env.into_iter();
        let input = Self {
            command: request.command,
            env: sorted(request.env),
            secret_env: secret_env
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
            workdir: request.workdir.map(PathBuf::from),
            user: request.user,
            timeout: request.timeout_ms.map(Duration::from_millis),
            limits: request
                .limits
                .map_or_else(Limits::default, |limits| Limits {
                    memory: limits.memory_bytes,
                    processes: limits.processes,
                }),
            returns: request.returns.map(|returns| Returns {
                outputs_file: returns.outputs_file.map(PathBuf::from),
                secrets_file: returns.secrets_file.map(PathBuf::from),
            }),
        };
        check_env("env", &input.env)?;
        let revealed = |(name, value): (&String, &Secret)| (name.clone(), value.expose().into());
        check_env(
            "secret_env",
            &input.secret_env.iter().map(revealed).collect(),
        )?;
        let anywhere = Setup {
            workdir: "/".into(),
            ..Setup::default()
        };
        let record = StepRecord {
            id: "".into(),
            content: Content::default(),
            started_at: Timestamp::default(),
        };
        input
            .clone()
            .order(record, &anywhere)
            .check()
            .map_err(|error| match &error {
                StartError::Invalid { field, reason } => invalid(field, reason),
                _ => invalid("step", chain(&error)),
            })?;
        Ok(input)
    }

    /// How the step returns variables, if it may and can.
    pub(super) fn returns(&self) -> Option<Returns> {
        let returns = self.returns.as_ref()?;
        may_return(self.user.as_deref()).then(|| returns.clone())
    }

    /// The order to the host, for a step of a stage that was prepared so.
    pub(super) fn order(self, record: StepRecord, setup: &Setup) -> StepOrder {
        let mut env = inherited();
        env.extend(setup.env.clone());
        env.extend(self.env);
        let mut secrets: Vec<Secret> = setup.secrets.iter().cloned().map(Secret::new).collect();
        secrets.extend(self.secret_env.values().cloned());
        let values = self.secret_env.iter();
        env.extend(values.map(|(name, value)| (name.clone(), value.expose().to_owned())));
        let workdir = self
            .workdir
            .map_or_else(|| setup.workdir.clone(), |dir| setup.workdir.join(dir));
        StepOrder {
            record,
            command: self.command,
            env,
            secrets,
            mask: Style::Plain,
            expressions: String::new(),
            secrets_file: None,
            workdir,
            user: self.user,
            timeout: self.timeout,
            limits: self.limits,
            detached: false,
            grace: None,
            preamble: String::new(),
        }
    }
}

/// What of the agent's own environment steps get.
pub(super) fn inherited() -> BTreeMap<String, String> {
    let names = INHERITED.iter();
    names
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect()
}

fn sorted(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// Refuses names and values that no environment can hold. Values are not shown.
fn check_env(field: &str, env: &BTreeMap<String, String>) -> Result<(), Status> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(
                field,
                "a name is empty or contains `=` or a NUL character",
            ));
        }
        if value.contains('\0') {
            return Err(invalid(
                field,
                format!("the value of {name} contains a NUL character"),
            ));
        }
    }
    Ok(())
}
