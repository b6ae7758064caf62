//! What runs on a machine: a stage's setup, its steps, and how a step ends.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::StepId;
use crate::secret::Secret;

/// What a machine is prepared with before a stage's first step.
#[derive(Debug, Clone, Default)]
pub struct StageSetup {
    /// The steps' working directory on the machine; relative paths lie within
    /// the stage's own folder. `None`: a folder of the stage's own.
    pub workdir: Option<PathBuf>,
    /// Environment of every step.
    pub env: BTreeMap<String, String>,
    /// Files to write first.
    pub files: Vec<StageFile>,
    /// Values that no log may show, in any step.
    pub secrets: Vec<Secret>,
}

/// A file of a stage's setup.
#[derive(Debug, Clone)]
pub struct StageFile {
    /// Where; relative paths lie within the working directory. One that ends
    /// with a slash is a directory, made where there is none.
    pub path: PathBuf,
    /// Permission bits, such as `0o600`.
    pub mode: u32,
    /// Content.
    pub content: Secret,
}

impl StageFile {
    /// It is a directory.
    pub fn is_dir(&self) -> bool {
        self.path.as_os_str().as_encoded_bytes().ends_with(b"/")
    }
}

/// One command of a stage.
#[derive(Debug, Clone)]
pub struct Step {
    /// The caller's id; a step of the same id is the same step (P9).
    pub id: StepId,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment, over the stage's.
    pub env: BTreeMap<String, String>,
    /// Values from secrets, over both; they are masked in the log.
    pub secret_env: BTreeMap<String, Secret>,
    /// Working directory, if not the stage's.
    pub workdir: Option<PathBuf>,
    /// Runs as this user (`name`, `uid`, `name:group`, `uid:gid`); `None`: as the agent.
    pub user: Option<String>,
    /// Over time after this long; `None`: the stage's deadline alone ends it.
    pub timeout: Option<Duration>,
    /// What its processes may take of the machine.
    pub limits: Limits,
    /// It may return variables to its caller and to later steps. `None`: it has
    /// no files for that, and finds nothing of what others exported.
    pub returns: Option<Returns>,
}

/// How a step returns variables: it writes `NAME=value` lines to files whose
/// paths it finds in `DRONE_OUTPUT` and `HARNESS_OUTPUT_FILE` (for its caller),
/// `HARNESS_OUTPUT_SECRET_FILE` (the same, masked in its log from then on), and
/// `DRONE_ENV` (the environment of the stage's later steps that return, too).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returns {
    /// The first of these, if it is to be another than the machine's choice.
    pub outputs_file: Option<PathBuf>,
    /// The second, likewise.
    pub secrets_file: Option<PathBuf>,
}

/// What a step has returned. Content: never in a journal or a log (P5, P11).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// For later steps.
    #[serde(default)]
    pub exported: BTreeMap<String, String>,
    /// For its caller, in the order in which it wrote them.
    #[serde(default)]
    pub outputs: Vec<Variable>,
    /// Why some of it could not be read.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// A variable that a step returned.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Nobody may see it.
    pub is_secret: bool,
}

impl Returned {
    /// Nothing was returned, and nothing went wrong.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// Names only: any value may be a secret.
impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returned")
            .field("exported", &self.exported.keys().collect::<Vec<_>>())
            .field("outputs", &self.outputs)
            .field("trouble", &self.trouble)
            .finish()
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("name", &self.name)
            .field("is_secret", &self.is_secret)
            .finish_non_exhaustive()
    }
}

/// What all processes of a step may take of their machine together. Where the
/// machine can't hold a step to it, the step runs without, and its log says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, none of it on disk. Beyond, the kernel kills; a step
    /// that fails by that ends [`StepStatus::OutOfMemory`].
    pub memory: Option<u64>,
    /// Processes and threads at once. Beyond, no new one can be made.
    pub processes: Option<u64>,
}

impl Limits {
    /// Nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Step {
    /// A step that runs `command` by `sh -c`.
    pub fn shell(id: impl Into<StepId>, command: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            command: vec!["sh".into(), "-c".into(), command.into()],
            env: BTreeMap::new(),
            secret_env: BTreeMap::new(),
            workdir: None,
            user: None,
            timeout: None,
            limits: Limits::default(),
            returns: None,
        }
    }
}

impl StageSetup {
    /// The setup's whole content as bytes, the same for the same content: what
    /// a keyed hash is taken of. Never written anywhere.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = Content::default();
        content.path(self.workdir.as_deref());
        content.count(self.env.len());
        for (name, value) in &self.env {
            content.part(name);
            content.part(value);
        }
        content.count(self.files.len());
        for file in &self.files {
            content.path(Some(&file.path));
            content.part(&file.mode.to_string());
            content.part(file.content.expose());
        }
        content.count(self.secrets.len());
        for secret in &self.secrets {
            content.part(secret.expose());
        }
        content.bytes
    }
}

impl Step {
    /// The step's whole content as bytes, the same for the same content: what a
    /// keyed hash is taken of ([`AgentLink::keyed_hash`]). It has the secrets, and is never
    /// written anywhere.
    ///
    /// [`AgentLink::keyed_hash`]: crate::AgentLink::keyed_hash
    pub fn content(&self) -> Vec<u8> {
        let mut content = Content::default();
        content.part(self.id.as_str());
        content.count(self.command.len());
        self.command.iter().for_each(|word| content.part(word));
        content.count(self.env.len());
        for (name, value) in &self.env {
            content.part(name);
            content.part(value);
        }
        content.count(self.secret_env.len());
        for (name, value) in &self.secret_env {
            content.part(name);
            content.part(value.expose());
        }
        content.path(self.workdir.as_deref());
        content.part(self.user.as_deref().unwrap_or_default());
        content.part(
            &self
                .timeout
                .map_or_else(String::new, |span| span.as_millis().to_string()),
        );
        // A step without limits has the hash that it had before there were any.
        for (name, limit) in [
            ("memory", self.limits.memory),
            ("processes", self.limits.processes),
        ] {
            if let Some(limit) = limit {
                content.part(name);
                content.part(&limit.to_string());
            }
        }
        // Nor has one that returns nothing another.
        if let Some(returns) = &self.returns {
            content.part("returns");
            content.path(returns.outputs_file.as_deref());
            content.path(returns.secrets_file.as_deref());
        }
        content.bytes
    }
}

/// Parts of a content, each with its length, so that no two contents look alike.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
}

impl Content {
    fn part(&mut self, text: &str) {
        let len = text.len() as u64;
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn count(&mut self, parts: usize) {
        self.part(&parts.to_string());
    }

    fn path(&mut self, path: Option<&Path>) {
        self.part(&path.map_or_else(String::new, |path| path.display().to_string()));
    }
}

/// How a step ended. Always terminal (P10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// It ended by itself with this code.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal that we did not send ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It failed, and the kernel had killed processes of it at its limit of memory.
    OutOfMemory,
    /// Over its time; nothing of it is left.
    TimedOut,
    /// Cancelled; nothing of it is left.
    Cancelled,
    /// It could not be started.
    NotStarted {
        /// Why: `sh: no such file`.
        reason: String,
    },
    /// It ran, and how it ended can't be known any more.
    Lost {
        /// Why: `the machine's agent was killed`.
        reason: String,
    },
}

impl StepStatus {
    /// Exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }
}

/// A step's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// How it ended.
    pub status: StepStatus,
    /// When it started, by the machine's clock.
    pub started_at: Timestamp,
    /// When it ended, by the machine's clock.
    pub ended_at: Timestamp,
    /// Bytes of its whole log.
    pub log_end: u64,
}
