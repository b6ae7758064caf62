//! The plan of one pipeline: its stage's set-up, its clone and its steps.

use std::collections::BTreeSet;

use vmpool_core::{Limits, StageId, StageSetup, Step, StepId};
use vmpool_pipeline::{
    Pipeline, Schedule, Stage, Task, Variables, build_variables, script, stage_variables,
};

use super::{CLONE, Given, PipelinePlan, PlanError, PlannedStep, PlannedTask, Runnable, Warnings};
use crate::exec::command::{Place, script_file};
use crate::exec::environment::StepEnv;
use crate::exec::refusal::{host_arch, host_os, moved_workspace, other_platform, refusal};

/// The folder of the scripts, within a stage's own.
const SCRIPTS: &str = "scripts";

/// Makes the plan of one pipeline.
pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    /// From 0.
    pub(super) number: usize,
    pub(super) given: &'a Given,
    pub(super) warnings: Warnings,
}

impl Planner<'_> {
    pub(super) fn plan(&mut self) -> Result<PipelinePlan, PlanError> {
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
        returns: None,
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
