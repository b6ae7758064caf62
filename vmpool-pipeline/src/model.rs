//! What a pipeline file says, checked: the types that [`parse`](crate::parse())
//! returns.
//!
//! Nothing here is evaluated yet: whether a step runs is for
//! [`Schedule`](crate::Schedule), what it runs for
//! [`script`](crate::script()). Steps and services with an `image` keep all
//! their data, whether or not the caller can run containers.
//!
//! Invariants of a parsed [`File`]: it has a pipeline; names of pipelines, and
//! of the services and steps of one pipeline, are unique, not empty and
//! printable; every `depends_on` names one of them; there is no cycle.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::diagnostic::{Place, plain, quoted};
use crate::when::Conditions;

/// A pipeline file.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// The pipelines, in the file's order; at least one.
    pub pipelines: Vec<Pipeline>,
    /// The documents that are something else.
    pub passed_over: Vec<PassedOver>,
}

/// A document of the file that is not run here, such as a secret or a
/// pipeline of type `kubernetes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its `kind`.
    pub kind: String,
    /// Its `type`, where that is why a pipeline is passed over.
    pub pipeline_type: Option<String>,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Where it begins.
    pub place: Place,
}

/// For example ``pipeline `build` of type `kubernetes` ``.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.kind))?;
        if let Some(name) = &self.name {
            write!(f, " {}", quoted(name))?;
        }
        if let Some(pipeline_type) = &self.pipeline_type {
            write!(f, " of type {}", quoted(pipeline_type))?;
        }
        Ok(())
    }
}

/// One pipeline: a stage on a machine of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Unique in the file; `default` where the file gives none.
    pub name: String,
    /// What the file calls its `type`, if it does.
    pub pipeline_type: Option<PipelineType>,
    /// The machine it asks for.
    pub platform: Platform,
    /// The pool it asks for (`pool.use`).
    pub pool: Option<String>,
    /// Where the sources are put.
    pub workspace: Workspace,
    /// Variables of all its steps.
    pub environment: BTreeMap<String, EnvValue>,
    /// How the sources get there.
    pub clone: Clone,
    /// When it runs at all, and whether it does after a failure.
    pub trigger: Conditions,
    /// Steps that run beside the others; each has `detach` set.
    pub services: Vec<Step>,
    /// Directories for its steps.
    pub volumes: Vec<Volume>,
    /// What it does; at least one.
    pub steps: Vec<Step>,
    /// The pipelines that must end before it begins.
    pub depends_on: Vec<String>,
    /// How long it may take; only `.vmpool.yml` can say.
    pub timeout: Option<Duration>,
    /// Where it begins in the file.
    pub place: Place,
}

impl Pipeline {
    /// Services first, then steps: what a [`Schedule`](crate::Schedule) of the
    /// pipeline numbers from 0.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = &Step> + std::clone::Clone {
        self.services.iter().chain(&self.steps)
    }

    /// The task with this number.
    pub fn task(&self, number: usize) -> Option<&Step> {
        match number.checked_sub(self.services.len()) {
            Some(step) => self.steps.get(step),
            None => self.services.get(number),
        }
    }
}

/// The types of pipeline that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipelineType {
    /// `vm`: on a machine of a pool.
    Vm,
    /// `aws`: the older name of the same.
    Aws,
    /// `exec`: commands on the host.
    Exec,
    /// `docker`: each step in a container.
    Docker,
}

/// What a pipeline asks of its machine; empty where the file is silent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// `linux`, `windows`, `darwin`, …
    pub os: Option<String>,
    /// `amd64`, `arm64`, …
    pub arch: Option<String>,
    /// Like `v7` of `arm`.
    pub variant: Option<String>,
    /// The version of the operating system, like `1809` of Windows.
    pub version: Option<String>,
}

/// Where the sources are put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workspace {
    /// The directory that the steps share.
    pub base: Option<String>,
    /// The sources below it; the steps' working directory.
    pub path: Option<String>,
}

/// How the sources get into the workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clone {
    /// They don't: a step does it, or nobody.
    pub disable: bool,
    /// How many commits of the history, where not all.
    pub depth: Option<u32>,
}

/// One step, or one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Unique among the pipeline's steps and services.
    pub name: String,
    /// The container image; without one the step runs on the host.
    pub image: Option<String>,
    /// When to fetch the image.
    pub pull: Pull,
    /// What it runs, for [`script`](crate::script()).
    pub commands: Vec<String>,
    /// Parameters of a plugin image.
    pub settings: BTreeMap<String, Setting>,
    /// Variables, over those of the pipeline.
    pub environment: BTreeMap<String, EnvValue>,
    /// The steps that must end before it begins. May name `clone`, which is
    /// not a step of its own.
    pub depends_on: Vec<String>,
    /// It is started and not waited for.
    pub detach: bool,
    /// In place of the image's entry point.
    pub entrypoint: Vec<String>,
    /// In place of the image's command.
    pub command: Vec<String>,
    /// The user it runs as.
    pub user: Option<String>,
    /// What its failure means.
    pub failure: Failure,
    /// When it runs.
    pub when: Conditions,
    /// How long it may take; only `.vmpool.yml` can say.
    pub timeout: Option<Duration>,
    /// The pipeline's volumes that it sees.
    pub volumes: Vec<Mount>,
    /// Its container may do what the host may.
    pub privileged: bool,
    /// Where it begins in the file.
    pub place: Place,
}

/// When to fetch an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pull {
    /// As the runner does it where the file is silent.
    #[default]
    Default,
    /// Each time.
    Always,
    /// Where it isn't there yet.
    IfNotExists,
    /// Not at all.
    Never,
}

/// What a step's failure means for its pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Failure {
    /// The pipeline fails.
    #[default]
    Always,
    /// Nothing.
    Ignore,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Text, as written in the file.
    Plain(String),
    /// The value of the secret of this name.
    FromSecret(String),
}

/// The value of a plugin's parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// Nothing (`~`).
    Null,
    /// A scalar, as written in the file.
    Scalar(ScalarKind, String),
    /// The value of the secret of this name.
    FromSecret(String),
    /// A list.
    List(Vec<Setting>),
    /// A map.
    Map(BTreeMap<String, Setting>),
}

/// What YAML 1.2 takes a scalar for: only `true` and `false` are booleans, and
/// what is quoted is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// All else.
    Text,
}

/// A directory that steps can share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name, which steps use.
    pub name: String,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeSource {
    /// An empty directory that is gone with the pipeline.
    Temp,
    /// A directory of the machine.
    Host(String),
    /// Something that only other runners have, like `config_map`.
    Other(String),
}

/// Where a step sees a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name.
    pub name: String,
    /// The directory in the container.
    pub path: String,
}
