//! What is known of a pipeline's steps while they run: the schedule, when each
//! began, how each ended, and what of that is still to be shown. No I/O.

use std::time::{Duration, Instant};

use vmpool_pipeline::{Outcome as TaskOutcome, Schedule, State};

use super::events::{Ended, Event, Outcome};
use super::name::Name;
use super::plan::PipelinePlan;
use super::summary::StepSummary;

/// The steps of one pipeline.
#[derive(Debug)]
pub(super) struct Book {
    pipeline: Name,
    schedule: Schedule,
    rows: Vec<Row>,
    /// Since when nothing but the machine has held back what is ready next.
    held_since: Instant,
    /// What happened and was not shown yet.
    events: Vec<Event>,
}

#[derive(Debug)]
struct Row {
    name: Name,
    /// Its failure is nobody's.
    may_fail: bool,
    waited: Duration,
    began: Option<Instant>,
    ended: Option<(Ended, Duration)>,
}

impl Book {
    /// Nothing has begun.
    pub(super) fn new(plan: &PipelinePlan) -> Self {
        let tasks = plan.tasks.iter().zip(plan.schedule.tasks());
        let rows = tasks.map(|(planned, (task, _))| Row {
            name: planned.name.clone(),
            may_fail: task.ignores_failure || task.detached,
            waited: Duration::ZERO,
            began: None,
            ended: None,
        });
        Self {
            pipeline: plan.name.clone(),
            schedule: plan.schedule.clone(),
            rows: rows.collect(),
            held_since: Instant::now(),
            events: Vec::new(),
        }
    }

    /// Hands out the steps that are to start now; those that will not run are skipped.
    pub(super) fn ready(&mut self) -> Vec<usize> {
        let mut all = Vec::new();
        loop {
            let ready = self.schedule.ready();
            if ready.is_empty() {
                break;
            }
            for number in ready {
                let row = &mut self.rows[number];
                row.waited = self.held_since.elapsed();
                row.began = Some(Instant::now());
                let (pipeline, step) = (self.pipeline.clone(), row.name.clone());
                self.events.push(Event::StepStarted { pipeline, step });
                // Nobody waits longer for a detached one.
                self.schedule.started(number);
                all.push(number);
            }
        }
        self.held_since = Instant::now();
        self.note_skipped();
        all
    }

    /// A step that was handed out has ended. One that may fail and did is ignored.
    pub(super) fn ended(&mut self, number: usize, mut end: Ended) {
        let row = &mut self.rows[number];
        let outcome = match end.result {
            Outcome::Success | Outcome::Skipped => TaskOutcome::Succeeded,
            _ => TaskOutcome::Failed,
        };
        if end.result == Outcome::Failure && row.may_fail {
            end.result = Outcome::Ignored;
        }
        if !self.schedule.finished(number, outcome) {
            return;
        }
        let ran = row.began.map(|began| began.elapsed()).unwrap_or_default();
        row.ended = Some((end.clone(), ran));
        let (pipeline, step) = (self.pipeline.clone(), row.name.clone());
        self.events.push(Event::StepEnded {
            pipeline,
            step,
            end,
            ran,
        });
        self.held_since = Instant::now();
    }

    /// Every step that runs has ended like this.
    pub(super) fn all_ended(&mut self, end: &Ended) {
        let running: Vec<_> = self
            .schedule
            .tasks()
            .enumerate()
            .filter(|(_, (_, state))| **state == State::Running)
            .map(|(number, _)| number)
            .collect();
        for number in running {
            self.ended(number, end.clone());
        }
    }

    /// No further step starts, for this reason.
    pub(super) fn skip_rest(&mut self, reason: &str) {
        self.schedule.cancel(reason);
        self.note_skipped();
    }

    /// Nothing is left to run or to wait for but detached steps.
    pub(super) fn is_done(&self) -> bool {
        self.schedule.is_done()
    }

    /// The names of the steps that failed so far.
    pub(super) fn failed(&self) -> Vec<String> {
        let failed = |row: &&Row| {
            row.ended
                .as_ref()
                .is_some_and(|(end, _)| end.result == Outcome::Failure)
        };
        self.rows
            .iter()
            .filter(failed)
            .map(|row| row.name.to_string())
            .collect()
    }

    /// How the pipeline ended, by what its steps did.
    pub(super) fn pipeline_end(&self) -> Ended {
        let Some(failed) = self.schedule.failed() else {
            return Ended::success();
        };
        let reason = self
            .rows
            .iter()
            .find(|row| row.name.as_str() == failed)
            .and_then(|row| row.ended.as_ref()?.0.reason.as_deref());
        Ended::because(
            Outcome::Failure,
            match reason {
                Some(reason) => format!("step {failed} failed: {reason}"),
                None => format!("step {failed} failed"),
            },
        )
    }

    /// What happened since the last call.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Each step and how it ended, in the schedule's order.
    pub(super) fn into_summary(self) -> Vec<StepSummary> {
        let not_run = || Ended::because(Outcome::Skipped, "it did not run");
        self.rows
            .into_iter()
            .map(|row| {
                let (end, ran) = row.ended.unwrap_or_else(|| (not_run(), Duration::ZERO));
                StepSummary {
                    name: row.name,
                    end,
                    waited: row.waited,
                    ran,
                }
            })
            .collect()
    }

    fn note_skipped(&mut self) {
        for (row, (_, state)) in self.rows.iter_mut().zip(self.schedule.tasks()) {
            if let (State::Skipped(reason), None) = (state, &row.ended) {
                let end = Ended::because(Outcome::Skipped, reason.clone());
                row.ended = Some((end.clone(), Duration::ZERO));
                self.events.push(Event::StepEnded {
                    pipeline: self.pipeline.clone(),
                    step: row.name.clone(),
                    end,
                    ran: Duration::ZERO,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vmpool_core::{StageId, StageSetup};
    use vmpool_pipeline::{RunsOn, Schedule, Task};

    use super::*;
    use crate::exec::plan::{PlannedTask, Runnable};

    fn book(tasks: Vec<Task>) -> Book {
        Book::new(&PipelinePlan {
            name: "p".into(),
            stage: StageId::new("p"),
            setup: StageSetup::default(),
            tasks: tasks
                .iter()
                .map(|task| PlannedTask {
                    name: task.name.as_str().into(),
                    run: Runnable::Refused("nothing runs here".into()),
                })
                .collect(),
            schedule: Schedule::new(tasks).expect("an order"),
            timeout: None,
        })
    }

    fn task(name: &str, depends_on: &[&str]) -> Task {
        let depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
        Task {
            name: name.into(),
            depends_on,
            ..Task::default()
        }
    }

    fn failure() -> Ended {
        Ended::because(Outcome::Failure, "exit code 1")
    }

    /// What became of each step, in their order.
    fn results(book: Book) -> Vec<(Outcome, String)> {
        book.into_summary()
            .into_iter()
            .map(|step| (step.end.result, step.end.reason.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn after_a_failure_steps_are_skipped_but_those_for_failures() {
        let notify = Task {
            runs_on: RunsOn {
                success: false,
                failure: true,
            },
            ..task("notify", &["publish"])
        };
        let mut book = book(vec![
            task("build", &[]),
            task("publish", &["build"]),
            notify,
        ]);
        assert_eq!(book.ready(), [0]);
        book.ended(0, failure());
        assert_eq!(book.failed(), ["build"]);
        assert_eq!(book.ready(), [2]);
        book.ended(2, Ended::success());
        assert!(book.is_done());
        assert_eq!(
            book.pipeline_end(),
            Ended::because(Outcome::Failure, "step build failed: exit code 1")
        );
        assert_eq!(
            results(book),
            [
                (Outcome::Failure, "exit code 1".into()),
                (Outcome::Skipped, "build failed".into()),
                (Outcome::Success, String::new()),
            ]
        );
    }

    #[test]
    fn a_failure_that_is_nobodys_is_shown_as_ignored() {
        let may_fail = Task {
            ignores_failure: true,
            ..task("lint", &[])
        };
        let mut book = book(vec![may_fail, task("build", &["lint"])]);
        book.ready();
        book.ended(0, failure());
        assert_eq!(book.ready(), [1]);
        book.ended(1, Ended::success());
        assert_eq!(book.pipeline_end(), Ended::success());
        assert_eq!(results(book)[0].0, Outcome::Ignored);
    }

    #[test]
    fn what_is_detached_holds_nobody_up_and_is_done_when_the_others_are() {
        let server = Task {
            detached: true,
            ..task("server", &[])
        };
        let mut book = book(vec![server, task("use", &["server"])]);
        assert_eq!(book.ready(), [0, 1]);
        assert!(!book.is_done());
        book.ended(1, Ended::success());
        assert!(book.is_done());
    }

    #[test]
    fn a_lost_machine_ends_what_runs_and_skips_what_waits_once_each() {
        let mut book = book(vec![task("a", &[]), task("b", &[]), task("c", &["a"])]);
        book.ready();
        book.take_events();
        let lost = Ended::because(Outcome::NoMachine, "machine m was lost");
        book.all_ended(&lost);
        book.skip_rest("the machine was lost");
        book.ended(0, Ended::success());
        book.skip_rest("again");
        assert!(book.is_done());
        assert_eq!(book.take_events().len(), 3);
        let outcomes: Vec<_> = results(book)
            .into_iter()
            .map(|(outcome, _)| outcome)
            .collect();
        assert_eq!(
            outcomes,
            [Outcome::NoMachine, Outcome::NoMachine, Outcome::Skipped]
        );
    }
}
