//! All pipelines of a file: each when what it depends on has ended, at most so
//! many at the same time as there may be machines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vmpool_core::WarmPool;
use vmpool_pipeline::{Outcome as TaskOutcome, Schedule, State};

use super::book::Book;
use super::deployment::Deployment;
use super::events::{Ended, Event, Events, Outcome};
use super::plan::{PipelinePlan, Plan};
use super::run_pipeline::{Shared, run_pipeline, tell};
use super::summary::PipelineSummary;

/// Runs the plan's pipelines on at most `jobs` machines, and says what came of
/// each, in the file's order. When `stop` is cancelled it ends soon.
pub(super) async fn run(
    plan: Plan,
    jobs: u32,
    deployment: &Deployment,
    events: &Events,
    stop: &CancellationToken,
) -> Vec<PipelineSummary> {
    let wanted = Arc::new(Wanted::new(deployment.pool().clone(), plan.may_run(), jobs));
    let shared = Shared {
        pool: deployment.shared_pool(),
        executor: deployment.executor(),
        provider: deployment.provider(),
        events: events.clone(),
        slots: Arc::new(Semaphore::new(jobs as usize)),
        stop: stop.clone(),
    };
    let mut file = Pipelines::new(plan);
    let mut running = JoinSet::new();
    loop {
        for (number, pipeline) in file.ready() {
            let (shared, failed) = (shared.clone(), file.failed.clone());
            let wanted = Arc::clone(&wanted);
            running.spawn(async move {
                (
                    number,
                    run_pipeline(pipeline, shared, failed, move || wanted.one_less()).await,
                )
            });
        }
        for _ in 0..file.skip(events).await {
            wanted.one_less();
        }
        tokio::select! {
            joined = running.join_next() => match joined {
                None => break,
                Some(Ok((number, summary))) => file.ended(number, summary),
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
            },
            () = stop.cancelled(), if file.is_any_waiting() => file.schedule.cancel("interrupted"),
        }
    }
    file.ended.into_iter().flatten().collect()
}

/// Shows and sums up a plan of which nothing is to run.
pub(super) async fn run_nothing(plan: Plan, events: &Events) -> Vec<PipelineSummary> {
    let mut file = Pipelines::new(plan);
    file.ready();
    file.skip(events).await;
    file.ended.into_iter().flatten().collect()
}

/// The file's pipelines and how far they are, by number.
struct Pipelines {
    schedule: Schedule,
    /// Those that have not begun.
    waiting: Vec<Option<PipelinePlan>>,
    ended: Vec<Option<PipelineSummary>>,
    /// The names of those that failed.
    failed: Vec<String>,
}

impl Pipelines {
    fn new(plan: Plan) -> Self {
        let waiting: Vec<_> = plan.pipelines.into_iter().map(Some).collect();
        let ended = vec![None; waiting.len()];
        Self {
            schedule: plan.schedule,
            waiting,
            ended,
            failed: Vec::new(),
        }
    }

    fn is_any_waiting(&self) -> bool {
        self.schedule
            .tasks()
            .any(|(_, state)| *state == State::Waiting)
    }

    /// Those that start now.
    fn ready(&mut self) -> Vec<(usize, PipelinePlan)> {
        let ready = self.schedule.ready();
        ready
            .into_iter()
            .filter_map(|n| Some((n, self.waiting[n].take()?)))
            .collect()
    }

    /// Ends those that will not run. Says for how many that was not known beforehand.
    async fn skip(&mut self, events: &Events) -> usize {
        let mut late = 0;
        for (number, (task, state)) in self.schedule.tasks().enumerate() {
            let State::Skipped(reason) = state else {
                continue;
            };
            let Some(plan) = self.waiting[number].take() else {
                continue;
            };
            let mut book = Book::new(&plan);
            let is_late = task.skip.is_none();
            if is_late {
                late += 1;
                book.skip_rest(reason);
                tell(events, &mut book).await;
            }
            let end = Ended::because(Outcome::Skipped, reason.clone());
            let event = Event::PipelineEnded {
                pipeline: plan.name.clone(),
                end: end.clone(),
            };
            events.show(event).await;
            let steps = if is_late {
                book.into_summary()
            } else {
                Vec::new()
            };
            let name = plan.name;
            self.ended[number] = Some(PipelineSummary {
                name,
                end,
                machine: None,
                steps,
            });
        }
        late
    }

    fn ended(&mut self, number: usize, summary: PipelineSummary) {
        let outcome = match summary.end.result {
            Outcome::Success | Outcome::Skipped | Outcome::Ignored => TaskOutcome::Succeeded,
            Outcome::Failure | Outcome::NoMachine | Outcome::Cancelled => TaskOutcome::Failed,
        };
        if outcome == TaskOutcome::Failed {
            self.failed.push(summary.name.to_string());
        }
        self.schedule.finished(number, outcome);
        self.ended[number] = Some(summary);
    }
}

/// How many machines are still wanted: the pool keeps no more ready than that,
/// so that none is started for nobody.
struct Wanted {
    pool: WarmPool,
    left: AtomicU32,
    jobs: u32,
}

impl Wanted {
    fn new(pool: WarmPool, pipelines: usize, jobs: u32) -> Self {
        let left = AtomicU32::new(u32::try_from(pipelines).unwrap_or(u32::MAX));
        Self { pool, left, jobs }
    }

    fn one_less(&self) {
        let left = self.left.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        self.pool.resize(left.min(self.jobs), self.jobs);
    }
}
