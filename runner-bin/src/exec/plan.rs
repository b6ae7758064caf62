//! What will run: the file's pipelines and steps as the pool and the agents
//! take them. Everything that can be decided before a machine is there is
//! decided here, and no I/O is done.

mod pipeline;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use vmpool_core::{StageId, StageSetup, Step};
use vmpool_pipeline::{
    Build, Choice, Failed, File, OrderError, Pipeline, Schedule, Task, step_variables,
};

use self::pipeline::Planner;
use super::facts::unix_now;
use super::name::Name;
use super::variables::Secrets;
use super::warnings::Warnings;

/// The step that brings the sources.
const CLONE: &str = "clone";

/// What a plan is made from, besides the file.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) build: Build,
    /// Which steps were asked for.
    pub(super) choice: Choice,
    pub(super) secrets: Secrets,
    /// Variables under those of the file.
    pub(super) env: BTreeMap<String, String>,
    /// The directory that is run.
    pub(super) directory: PathBuf,
    /// This program, which clones the directory on a machine.
    pub(super) program: PathBuf,
    /// Steps run in the directory itself.
    pub(super) mount: bool,
    /// Steps that ask for an image run without it.
    pub(super) ignore_image: bool,
    /// For pipelines that name none.
    pub(super) timeout: Option<Duration>,
}

/// What will run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) schedule: Schedule,
    /// As the schedule numbers them.
    pub(super) pipelines: Vec<PipelinePlan>,
    /// What a person should know beforehand.
    pub(super) warnings: Vec<String>,
}

/// A pipeline that will run.
#[derive(Debug)]
pub(super) struct PipelinePlan {
    pub(super) name: Name,
    pub(super) stage: StageId,
    pub(super) setup: StageSetup,
    pub(super) schedule: Schedule,
    /// As the schedule numbers them.
    pub(super) tasks: Vec<PlannedTask>,
    pub(super) timeout: Option<Duration>,
}

/// A step that will run.
#[derive(Debug)]
pub(super) struct PlannedTask {
    pub(super) name: Name,
    pub(super) run: Runnable,
}

/// What a step runs.
#[derive(Debug)]
pub(super) enum Runnable {
    /// This.
    Step(Box<PlannedStep>),
    /// Nothing, for this reason: it fails.
    Refused(String),
}

/// A step, but for what is known only when it starts.
#[derive(Debug)]
pub(super) struct PlannedStep {
    step: Step,
    /// From 1.
    number: usize,
    /// The variables that it sets itself: nothing goes over them.
    own: BTreeSet<String>,
}

impl PlannedStep {
    /// The step that starts now, on this machine, after these failures.
    pub(super) fn starting(&self, machine: &str, stage_began: u64, failed: Failed<'_>) -> Step {
        let mut step = self.step.clone();
        let mut variables = step_variables(step.id.as_str(), self.number, unix_now(), failed);
        variables.insert("DRONE_STAGE_MACHINE".into(), machine.into());
        variables.insert("DRONE_STAGE_STARTED".into(), stage_began.to_string());
        step.env.extend(
            variables
                .into_iter()
                .filter(|(name, _)| !self.own.contains(name)),
        );
        step
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    /// `--include` or `--exclude` names no step.
    #[error("{option} {name}: there is no step of this name; there are {known}")]
    NoSuchStep {
        /// Which option.
        option: &'static str,
        /// What it names.
        name: String,
        /// What it could have named.
        known: String,
    },
    /// The workspace would lie outside of the machine's folder.
    #[error("pipeline {0}: workspace: `..` is not possible")]
    Workspace(String),
    /// Tasks that can't be brought into an order.
    #[error("bring the steps into an order")]
    Order(#[from] OrderError),
}

impl Plan {
    /// Plans to run `file`.
    ///
    /// # Errors
    /// Something that was asked for is not there, or can't be.
    pub(super) fn new(file: &File, given: &Given) -> Result<Self, PlanError> {
        check_choice(file, &given.choice)?;
        let facts = &given.build.facts;
        let of_file = Schedule::of_pipelines(file, facts, &Choice::default())?;
        let mut stages: Vec<Task> = of_file.tasks().map(|(task, _)| task.clone()).collect();
        let mut pipelines = Vec::new();
        let mut warnings = Warnings::default();
        for (number, (pipeline, stage)) in file.pipelines.iter().zip(&mut stages).enumerate() {
            let mut planner = Planner {
                pipeline,
                number,
                given,
                warnings: Warnings::default(),
            };
            let plan = planner.plan()?;
            if stage.skip.is_none() {
                stage.skip = nothing_runs(pipeline, &plan.schedule);
            }
            if stage.skip.is_none() {
                warnings.add(planner.warnings);
            }
            pipelines.push(plan);
        }
        Ok(Self {
            schedule: Schedule::new(stages)?,
            pipelines,
            warnings: warnings.into_lines(),
        })
    }

    /// How many pipelines may run, as far as is known beforehand.
    pub(super) fn may_run(&self) -> usize {
        self.schedule
            .tasks()
            .filter(|(task, _)| task.skip.is_none())
            .count()
    }
}

/// Why a pipeline needs no machine, if it needs none: it has services at most to run.
fn nothing_runs(pipeline: &Pipeline, schedule: &Schedule) -> Option<String> {
    let steps: Vec<_> = schedule
        .tasks()
        .filter(|(task, _)| pipeline.steps.iter().any(|step| step.name == task.name))
        .collect();
    let reasons: Vec<_> = steps
        .iter()
        .filter_map(|(task, _)| task.skip.as_deref())
        .collect();
    (reasons.len() == steps.len()).then(|| match reasons[..] {
        [reason] => reason.to_owned(),
        _ => "none of its steps runs".to_owned(),
    })
}

fn check_choice(file: &File, choice: &Choice) -> Result<(), PlanError> {
    let known: BTreeSet<&str> = file
        .pipelines
        .iter()
        .flat_map(|pipeline| pipeline.tasks().map(|step| step.name.as_str()))
        .collect();
    let given = [
        ("--include", &choice.include),
        ("--exclude", &choice.exclude),
    ];
    for (option, names) in given {
        let is_unknown = |name: &&String| !known.contains(name.as_str()) && *name != CLONE;
        if let Some(name) = names.iter().find(is_unknown) {
            let known = known.iter().copied().collect::<Vec<_>>().join(", ");
            return Err(PlanError::NoSuchStep {
                option,
                name: name.clone(),
                known,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
