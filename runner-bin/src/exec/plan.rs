//! What will run: the file's pipelines and steps as the pool and the agents
//! take them. Everything that can be decided before a machine is there is
//! decided here, and no I/O is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use vmpool_core::{Limits, StageId, StageSetup, Step, StepId};
use vmpool_pipeline::{
    Build, Choice, Failed, File, OrderError, Pipeline, Schedule, Stage, Task, Variables,
    build_variables, script, stage_variables, step_variables,
};

use super::command::{Place, script_file};
use super::environment::StepEnv;
use super::facts::unix_now;
use super::name::Name;
use super::refusal::{host_arch, host_os, moved_workspace, other_platform, refusal};
use super::variables::Secrets;
use super::warnings::Warnings;

/// The step that brings the sources.
const CLONE: &str = "clone";

/// The folder of the scripts, within a stage's own.
const SCRIPTS: &str = "scripts";

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

/// Makes the plan of one pipeline.
struct Planner<'a> {
    pipeline: &'a Pipeline,
    /// From 0.
    number: usize,
    given: &'a Given,
    warnings: Warnings,
}

impl Planner<'_> {
    fn plan(&mut self) -> Result<PipelinePlan, PlanError> {
        let Self {
            pipeline, given, ..
        } = *self;
        let place = if given.mount {
            Place::mounted(&given.directory)
        } else {
            Place::of(&pipeline.workspace)
                .ok_or_else(|| PlanError::Workspace(pipeline.name.clone()))?
        };
        let remarks = [
            other_platform(&pipeline.platform),
            moved_workspace(&pipeline.workspace),
        ];
        for remark in remarks.into_iter().flatten() {
            self.warnings
                .line(format!("pipeline {}: {remark}", pipeline.name));
        }

        let of_file = Schedule::of_steps(pipeline, &given.build.facts, &given.choice)?;
        let mut tasks: Vec<Task> = of_file.tasks().map(|(task, _)| task.clone()).collect();
        let mut planned = Vec::new();
        let mut setup = StageSetup {
            env: given.env.clone(),
            secrets: given.secrets.to_mask(),
            ..StageSetup::default()
        };
        let variables = self.stage_variables();
        for (number, (step, task)) in pipeline.tasks().zip(&mut tasks).enumerate() {
            let run = if let Some(reason) = refusal(step, given.ignore_image) {
                // The others do not run without their service as if it were there.
                task.detached = false;
                Runnable::Refused(reason)
            } else {
                let is_run = task.skip.is_none();
                let step = self.step(step, number, &place, &variables, &mut setup, is_run);
                Runnable::Step(Box::new(step))
            };
            planned.push(PlannedTask {
                name: step.name.as_str().into(),
                run,
            });
        }
        if let Some(clone) = self.clone_step(&place, &variables) {
            put_first(&mut tasks, clone.name.as_str());
            planned.insert(0, clone);
        }
        Ok(PipelinePlan {
            name: pipeline.name.as_str().into(),
            stage: StageId::parse(&pipeline.name)
                .unwrap_or_else(|_| StageId::new(format!("pipeline-{}", self.number + 1))),
            setup,
            schedule: Schedule::new(tasks)?,
            tasks: planned,
            timeout: pipeline.timeout.or(given.timeout),
        })
    }

    /// `CI` and `DRONE_*`, but for what is known only when the stage or a step starts.
    fn stage_variables(&self) -> Variables {
        let mut variables = build_variables(&self.given.build);
        let stage = Stage {
            number: self.number + 1,
            os: host_os().to_owned(),
            arch: host_arch().to_owned(),
            ..Stage::default()
        };
        variables.extend(stage_variables(self.pipeline, &stage));
        variables
    }

    /// The step that brings the sources, if there is to be one.
    fn clone_step(&self, place: &Place, variables: &Variables) -> Option<PlannedTask> {
        let Given {
            directory,
            program,
            choice,
            mount,
            ..
        } = self.given;
        let clone = self.pipeline.clone;
        if clone.disable || *mount || choice.exclude.iter().any(|name| name == CLONE) {
            return None;
        }
        let mut line = vec![
            program.to_string_lossy().into_owned(),
            "clone-workspace".into(),
        ];
        line.extend(
            clone
                .depth
                .filter(|depth| *depth > 0)
                .map(|depth| format!("--depth={depth}")),
        );
        line.extend(["--".into(), directory.to_string_lossy().into_owned()]);
        // A step of the file may have the name.
        let is_free = self.pipeline.tasks().all(|step| step.name != CLONE);
        let name = if is_free { CLONE } else { "clone-workspace" };
        let env = StepEnv {
            plain: variables.clone(),
            ..StepEnv::default()
        };
        let step = new_step(StepId::new(name), place.run(&line), env);
        let step = PlannedStep {
            step,
            number: 0,
            own: BTreeSet::new(),
        };
        Some(PlannedTask {
            name: name.into(),
            run: Runnable::Step(Box::new(step)),
        })
    }

    fn step(
        &mut self,
        step: &vmpool_pipeline::Step,
        number: usize,
        place: &Place,
        variables: &Variables,
        setup: &mut StageSetup,
        is_run: bool,
    ) -> PlannedStep {
        let mut env = StepEnv::default();
        env.put(&self.pipeline.environment, &self.given.secrets);
        env.put_build(variables.clone());
        env.put(&step.environment, &self.given.secrets);
        if is_run {
            self.warnings
                .of_step(&step.name, step.image.as_deref(), &env.missing);
        }
        let line = if step.commands.is_empty() {
            place.run(&[&step.entrypoint[..], &step.command[..]].concat())
        } else {
            let path = format!("{SCRIPTS}/{number}");
            setup.files.push(script_file(&path, script(&step.commands)));
            place.run_script(&path, &step.entrypoint)
        };
        let id = StepId::parse(&step.name)
            .unwrap_or_else(|_| StepId::new(format!("step-{}", number + 1)));
        PlannedStep {
            step: Step {
                user: step.user.clone(),
                timeout: step.timeout,
                ..new_step(id, line, env)
            },
            number: number + 1,
            own: step.environment.keys().cloned().collect(),
        }
    }
}

fn new_step(id: StepId, command: Vec<String>, env: StepEnv) -> Step {
    Step {
        id,
        command,
        env: env.plain,
        secret_env: env.secret,
        workdir: None,
        user: None,
        timeout: None,
        limits: Limits::default(),
    }
}

/// Puts a task before all others.
fn put_first(tasks: &mut Vec<Task>, name: &str) {
    for task in tasks.iter_mut().filter(|task| task.depends_on.is_empty()) {
        task.depends_on.push(name.to_owned());
    }
    tasks.insert(
        0,
        Task {
            name: name.to_owned(),
            ..Task::default()
        },
    );
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
