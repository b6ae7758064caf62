//! The order of steps, and of pipelines: a state machine without I/O that says
//! what may start next.
//!
//! ```text
//! waiting ─► running ─► ended        all it waits for has ended, and it runs
//!        └─► skipped                 … and its conditions do not hold
//! ```
//!
//! As in Drone: without any `depends_on` steps run one after the other, else
//! each runs once all it depends on has ended; what is skipped counts as
//! ended; and a failure is the whole pipeline's, whichever step it was, from
//! the moment it is known.
//!
//! Invariants:
//! - A task is handed out by [`Schedule::ready`] at most once, and never
//!   before each task it waits for is skipped, has ended, or, where that one
//!   is detached, has started.
//! - Each task ends exactly once, as skipped or as ended, if whoever drives the
//!   schedule reports the end of each task it was given.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::CLONE;
use crate::model::{Failure, File, Pipeline, Step};
use crate::when::{Facts, RunsOn};

/// One thing to run: a step, a service or a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Task {
    /// Its name, unique in the schedule.
    pub name: String,
    /// The names of the tasks that must end first.
    pub depends_on: Vec<String>,
    /// Whether it runs before or after a failure.
    pub runs_on: RunsOn,
    /// Why it does not run at all, where that is known beforehand.
    pub skip: Option<String>,
    /// Nobody waits for its end, and its failure is nobody's.
    pub detached: bool,
    /// Its failure counts as success.
    pub ignores_failure: bool,
}

/// Where a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// For others to end.
    Waiting,
    /// It has been handed out.
    Running,
    /// It has run.
    Ended(Outcome),
    /// It will not run, for this reason: `branch x is not in [main]`.
    Skipped(String),
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Succeeded,
    /// Not well: it failed, was cancelled, or could not be started.
    Failed,
}

/// Why tasks can't be brought into an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Two tasks have one name.
    #[error("there are two tasks of the name `{0}`")]
    Twice(String),
    /// A task depends on one that isn't there.
    #[error("`{task}` depends on `{on}`, which is not there")]
    Unknown {
        /// Which task.
        task: String,
        /// What it depends on.
        on: String,
    },
    /// Tasks wait for each other.
    #[error("tasks wait for each other: {}", .0.join(" after "))]
    Cycle(Vec<String>),
}

/// Which steps somebody asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only these; all where it is empty.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
}

impl Choice {
    /// Why `name` is not chosen, if it isn't.
    fn against(&self, name: &str) -> Option<String> {
        if self.exclude.iter().any(|other| other == name) {
            Some("excluded".into())
        } else if self.include.is_empty() || self.include.iter().any(|other| other == name) {
            None
        } else {
            Some("not included".into())
        }
    }
}

/// The tasks of a pipeline, or the pipelines of a file, and how far they are.
#[derive(Debug, Clone)]
pub struct Schedule {
    nodes: Vec<Node>,
    /// Those that wait for nothing any more and are not yet decided on.
    decidable: BTreeSet<usize>,
    first_failure: Option<usize>,
}

#[derive(Debug, Clone)]
struct Node {
    task: Task,
    state: State,
    /// Who waits for this one.
    dependents: Vec<usize>,
    /// How many it still waits for.
    waits_for: usize,
    /// Whether its dependents wait no more.
    released: bool,
}

impl Schedule {
    /// The order that the tasks' `depends_on` makes.
    pub fn new(tasks: Vec<Task>) -> Result<Self, OrderError> {
        let mut numbers = BTreeMap::new();
        for (n, task) in tasks.iter().enumerate() {
            if numbers.insert(task.name.clone(), n).is_some() {
                return Err(OrderError::Twice(task.name.clone()));
            }
        }
        let number = |task: &Task, on: &String| {
            let unknown = || OrderError::Unknown {
                task: task.name.clone(),
                on: on.clone(),
            };
            numbers.get(on).copied().ok_or_else(unknown)
        };
        let edges = tasks
            .iter()
            .map(|task| task.depends_on.iter().map(|on| number(task, on)).collect())
            .collect::<Result<Vec<Vec<usize>>, _>>()?;
        Self::with_edges(tasks, &edges)
    }

    /// `edges[n]` are those that task `n` waits for.
    fn with_edges(tasks: Vec<Task>, edges: &[Vec<usize>]) -> Result<Self, OrderError> {
        if let Some(around) = cycle(edges) {
            return Err(OrderError::Cycle(
                around.iter().map(|&n| tasks[n].name.clone()).collect(),
            ));
        }
        let node = |task| Node {
            task,
            state: State::Waiting,
            dependents: Vec::new(),
            waits_for: 0,
            released: false,
        };
        let mut nodes: Vec<Node> = tasks.into_iter().map(node).collect();
        for (n, waits_for) in edges.iter().enumerate() {
            nodes[n].waits_for = waits_for.len();
            for &on in waits_for {
                nodes[on].dependents.push(n);
            }
        }
        let decidable = (0..nodes.len())
            .filter(|&n| nodes[n].waits_for == 0)
            .collect();
        Ok(Self {
            nodes,
            decidable,
            first_failure: None,
        })
    }

    /// The services and steps of a pipeline, numbered as [`Pipeline::task`]
    /// does. All services start before the first step.
    pub fn of_steps(
        pipeline: &Pipeline,
        facts: &Facts,
        choice: &Choice,
    ) -> Result<Self, OrderError> {
        let services = pipeline.services.len();
        let is_graph = pipeline.tasks().any(|step| !step.depends_on.is_empty());
        let is_step = |name: &String| pipeline.tasks().any(|step| step.name == *name);
        // Not those that wait for a step themselves.
        let first = pipeline
            .services
            .iter()
            .filter(|service| service.depends_on.is_empty());
        let first: Vec<String> = first.map(|service| service.name.clone()).collect();
        let mut tasks: Vec<Task> = Vec::new();
        for (n, step) in pipeline.tasks().enumerate() {
            let mut task = step_task(step, facts, choice, n < services);
            // Drone's own step: the sources are there before any step starts.
            task.depends_on.retain(|on| on != CLONE || is_step(on));
            if !is_graph && n > services {
                task.depends_on = vec![tasks[n - 1].name.clone()];
            } else if n >= services && task.depends_on.is_empty() {
                task.depends_on.clone_from(&first);
            }
            tasks.push(task);
        }
        Self::new(tasks)
    }

    /// The pipelines of a file. Those that depend on nothing start at once.
    pub fn of_pipelines(file: &File, facts: &Facts, choice: &Choice) -> Result<Self, OrderError> {
        let task = |pipeline: &Pipeline| Task {
            name: pipeline.name.clone(),
            depends_on: pipeline.depends_on.clone(),
            runs_on: pipeline.trigger.runs_on(),
            skip: choice
                .against(&pipeline.name)
                .or_else(|| pipeline.trigger.unmet(facts)),
            detached: false,
            ignores_failure: false,
        };
        Self::new(file.pipelines.iter().map(task).collect())
    }

    /// Hands out, in their order, the tasks that may start now, and skips those
    /// that will not run. Call it at the start and after each change.
    pub fn ready(&mut self) -> Vec<usize> {
        let mut ready = Vec::new();
        // Skipping one may let others be decided on, so one at a time.
        while let Some(n) = self.decidable.pop_first() {
            if let Some(reason) = self.against(n) {
                self.nodes[n].state = State::Skipped(reason);
                self.release(n);
            } else {
                self.nodes[n].state = State::Running;
                ready.push(n);
            }
        }
        ready
    }

    /// Why task `n` is not to run, now that it waits for nothing.
    fn against(&self, n: usize) -> Option<String> {
        let task = &self.nodes[n].task;
        let runs_on = task.runs_on;
        match self.first_failure {
            _ if task.skip.is_some() => task.skip.clone(),
            Some(failed) if !runs_on.failure => {
                Some(format!("{} failed", self.nodes[failed].task.name))
            }
            None if !runs_on.success => Some("nothing has failed".into()),
            _ => None,
        }
    }

    /// Tells that a task has started. Others wait only for the start of a
    /// detached one; for the rest this changes nothing.
    pub fn started(&mut self, n: usize) {
        if self.is_running(n) && self.nodes[n].task.detached {
            self.release(n);
        }
    }

    /// Tells that a task has ended. False where it was not running: then
    /// nothing has changed.
    pub fn finished(&mut self, n: usize, outcome: Outcome) -> bool {
        if !self.is_running(n) {
            return false;
        }
        let task = &self.nodes[n].task;
        let counts = !task.ignores_failure && !task.detached;
        if outcome == Outcome::Failed && counts {
            self.first_failure.get_or_insert(n);
        }
        self.nodes[n].state = State::Ended(outcome);
        self.release(n);
        true
    }

    /// Skips all that has not started, for this reason.
    pub fn cancel(&mut self, reason: &str) {
        self.decidable.clear();
        for node in &mut self.nodes {
            if node.state == State::Waiting {
                node.state = State::Skipped(reason.to_owned());
            }
        }
    }

    fn is_running(&self, n: usize) -> bool {
        self.nodes
            .get(n)
            .is_some_and(|node| node.state == State::Running)
    }

    fn release(&mut self, n: usize) {
        if std::mem::replace(&mut self.nodes[n].released, true) {
            return;
        }
        for dependent in self.nodes[n].dependents.clone() {
            let node = &mut self.nodes[dependent];
            node.waits_for -= 1;
            if node.waits_for == 0 && node.state == State::Waiting {
                self.decidable.insert(dependent);
            }
        }
    }

    /// Whether nothing is left to run or to wait for; detached tasks may still
    /// run and are now to be ended.
    pub fn is_done(&self) -> bool {
        self.nodes.iter().all(|node| match node.state {
            State::Waiting => false,
            State::Running => node.task.detached,
            State::Ended(_) | State::Skipped(_) => true,
        })
    }

    /// The name of the task whose failure came first, if one has failed.
    pub fn failed(&self) -> Option<&str> {
        self.first_failure.map(|n| self.nodes[n].task.name.as_str())
    }

    /// Each task and where it is, by number.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = (&Task, &State)> {
        self.nodes.iter().map(|node| (&node.task, &node.state))
    }

    /// Where task `n` is.
    pub fn state(&self, n: usize) -> Option<&State> {
        self.nodes.get(n).map(|node| &node.state)
    }
}

fn step_task(step: &Step, facts: &Facts, choice: &Choice, is_service: bool) -> Task {
    // To ask for one step is not to ask for it without its services.
    let include = if is_service { &[][..] } else { &choice.include };
    let choice = Choice {
        include: include.to_vec(),
        exclude: choice.exclude.clone(),
    };
    Task {
        name: step.name.clone(),
        depends_on: step.depends_on.clone(),
        runs_on: step.when.runs_on(),
        skip: choice
            .against(&step.name)
            .or_else(|| step.when.unmet(facts)),
        detached: step.detach,
        ignores_failure: step.failure == Failure::Ignore,
    }
}

/// A cycle, if there is one: each number waits for the next, the last is the
/// first again.
pub(crate) fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut dependents = vec![Vec::new(); edges.len()];
    let mut waits_for: Vec<usize> = edges.iter().map(Vec::len).collect();
    for (n, on) in edges.iter().enumerate() {
        for &on in on {
            dependents[on].push(n);
        }
    }
    let mut free: Vec<usize> = (0..edges.len()).filter(|&n| waits_for[n] == 0).collect();
    while let Some(n) = free.pop() {
        for &dependent in &dependents[n] {
            waits_for[dependent] -= 1;
            if waits_for[dependent] == 0 {
                free.push(dependent);
            }
        }
    }
    // Who still waits, waits for somebody who still waits: that way leads round.
    let mut way = vec![waits_for.iter().position(|&left| left > 0)?];
    let mut met = BTreeMap::from([(way[0], 0)]);
    loop {
        let last = way[way.len() - 1];
        let next = edges[last].iter().copied().find(|&on| waits_for[on] > 0)?;
        way.push(next);
        if let Some(first) = met.insert(next, way.len() - 1) {
            return Some(way.split_off(first));
        }
    }
}

#[cfg(test)]
mod tests;
