//! One pipeline: a machine from the pool, its steps as their schedule says, and
//! the machine given up again.
//!
//! ```text
//! a free slot ─► acquire ─► init ─► steps ─► detached steps cancelled ─► cleanup
//! ```
//!
//! Whatever ends it early (an interruption, its time, a lost machine) skips the
//! steps that wait and cancels those that run; the machine is given up in any
//! case. It returns when nothing of it runs any more.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vmpool_core::pool::Origin;
use vmpool_core::stage::Prepared;
use vmpool_core::{AcquireRequest, Lease, MachineId, Pool, Provider, Stage, Step, StepExecutor};
use vmpool_pipeline::Failed;

use super::book::Book;
use super::events::{Ended, Event, Events, Outcome};
use super::facts::unix_now;
use super::plan::{PipelinePlan, Runnable};
use super::run_step::{StepEnd, run_step, told};
use super::summary::{MachineSummary, PipelineSummary};

/// What a stage may take beyond its pipeline's own time: to be prepared and cleaned up.
const STAGE_GRACE: Duration = Duration::from_mins(5);

/// Why something ended that a signal ended.
const INTERRUPTED: &str = "interrupted";

/// What all pipelines of a run share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) pool: Arc<dyn Pool>,
    pub(super) executor: Arc<dyn StepExecutor>,
    /// Who knows what became of a machine.
    pub(super) provider: Arc<dyn Provider>,
    pub(super) events: Events,
    /// Machines that may be had at the same time.
    pub(super) slots: Arc<Semaphore>,
    /// Cancelled when the run is interrupted.
    pub(super) stop: CancellationToken,
}

/// Runs a pipeline, after those that have `failed`. `acquired` is called once
/// it has its machine, or will have none.
pub(super) async fn run_pipeline(
    plan: PipelinePlan,
    shared: Shared,
    failed: Vec<String>,
    acquired: impl FnOnce(),
) -> PipelineSummary {
    let book = Book::new(&plan);
    let mut run = Run {
        plan: &plan,
        shared: &shared,
        failed: &failed,
        book,
        machine: None,
    };
    let slot = run.unless_stopped(shared.slots.acquire()).await;
    let lease = match slot {
        Some(_) => run.acquire().await,
        None => Err(interrupted()),
    };
    acquired();
    let end = match lease {
        Ok(lease) => run.on_machine(lease).await,
        Err(end) => end,
    };
    drop(slot);
    let Run {
        mut book, machine, ..
    } = run;
    book.skip_rest(match end.result {
        Outcome::Cancelled => INTERRUPTED,
        _ => "it has no machine",
    });
    tell(&shared.events, &mut book).await;
    let ended = Event::PipelineEnded {
        pipeline: plan.name.clone(),
        end: end.clone(),
    };
    shared.events.show(ended).await;
    PipelineSummary {
        name: plan.name.clone(),
        end,
        machine,
        steps: book.into_summary(),
    }
}

/// A pipeline at work.
struct Run<'a> {
    plan: &'a PipelinePlan,
    shared: &'a Shared,
    /// Pipelines that failed before this one began.
    failed: &'a [String],
    book: Book,
    machine: Option<MachineSummary>,
}

impl Run<'_> {
    async fn acquire(&mut self) -> Result<Lease, Ended> {
        let asked = Instant::now();
        let request = AcquireRequest {
            lasts: self.plan.timeout.map(|timeout| timeout + STAGE_GRACE),
            ..AcquireRequest::new(self.plan.stage.clone())
        };
        let lease = match self.unless_stopped(self.shared.pool.acquire(request)).await {
            None => return Err(interrupted()),
            Some(Ok(lease)) => lease,
            Some(Err(error)) => return Err(Ended::because(Outcome::NoMachine, told(&error))),
        };
        let machine = MachineSummary {
            id: lease.machine_id().to_string(),
            acquired: asked.elapsed(),
            warm: lease.origin() == Origin::Warm,
        };
        let event = Event::Acquired {
            pipeline: self.plan.name.clone(),
            machine: machine.id.clone(),
            took: machine.acquired,
            warm: machine.warm,
        };
        self.shared.events.show(event).await;
        self.machine = Some(machine);
        Ok(lease)
    }

    async fn on_machine(&mut self, lease: Lease) -> Ended {
        let machine = lease.machine_id().clone();
        let (pool, executor) = (self.shared.pool.clone(), self.shared.executor.clone());
        let init = Stage::new(lease, pool, executor).init(&self.plan.setup);
        let stage = match self.unless_stopped(init).await {
            None => return interrupted(),
            Some(Ok(stage)) => stage,
            Some(Err(error)) => {
                let reason = format!("machine {machine} was not prepared: {}", told(&error));
                return Ended::because(Outcome::NoMachine, reason);
            }
        };
        let cut_short = self.run_steps(&stage).await;
        if let Err(error) = stage.cleanup().await {
            let message = format!("clean up machine {machine}: {}", told(&error));
            self.shared.events.show(Event::Warning { message }).await;
        }
        cut_short.unwrap_or_else(|| self.book.pipeline_end())
    }

    /// Runs the steps until none runs any more. Says why that was before they
    /// were done, if it was.
    async fn run_steps(&mut self, stage: &Stage<Prepared>) -> Option<Ended> {
        let (plan, shared, book) = (self.plan, self.shared, &mut self.book);
        let machine = stage.lease().machine_id();
        let began = unix_now();
        let over = plan
            .timeout
            .map(|timeout| tokio::time::Instant::now() + timeout);
        let halt = CancellationToken::new();
        let mut running = FuturesUnordered::new();
        let mut cut_short: Option<Ended> = None;
        loop {
            for number in book.ready() {
                let steps = &book.failed();
                let step = match &plan.tasks[number].run {
                    Runnable::Step(planned) => Ok(planned.starting(
                        machine.as_str(),
                        began,
                        Failed {
                            steps,
                            stages: self.failed,
                        },
                    )),
                    Runnable::Refused(reason) => {
                        Err(Ended::because(Outcome::Failure, reason.clone()))
                    }
                };
                running.push(run_task(plan, number, step, stage, &shared.events, &halt));
            }
            tell(&shared.events, book).await;
            if book.is_done() {
                // Only detached steps can run still; they end with their pipeline.
                halt.cancel();
            }
            let may_end_early = cut_short.is_none() && !book.is_done();
            tokio::select! {
                Some((number, end)) = running.next() => match end {
                    StepEnd::Ended(end) => book.ended(number, end),
                    StepEnd::Stopped => book.ended(number, stopped(cut_short.as_ref())),
                    StepEnd::MachineLost(reason) => {
                        // What else runs there is lost with it; nobody is left to be asked.
                        running.clear();
                        let lost = lost(shared, machine, &reason).await;
                        book.all_ended(&lost);
                        book.skip_rest("the machine was lost");
                        cut_short.get_or_insert(lost);
                    }
                },
                end = early_end(&shared.stop, over, plan.timeout), if may_end_early => {
                    book.skip_rest(end.reason.as_deref().unwrap_or_default());
                    cut_short = Some(end);
                    halt.cancel();
                }
                else => break,
            }
        }
        cut_short
    }

    /// What `future` gives; none where the run is interrupted before.
    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => None,
            value = future => Some(value),
        }
    }
}

async fn run_task(
    plan: &PipelinePlan,
    number: usize,
    step: Result<Step, Ended>,
    stage: &Stage<Prepared>,
    events: &Events,
    halt: &CancellationToken,
) -> (usize, StepEnd) {
    let names = (&plan.name, &plan.tasks[number].name);
    let end = match step {
        Ok(step) => run_step(stage, &step, names, events, halt).await,
        Err(refused) => StepEnd::Ended(refused),
    };
    (number, end)
}

/// How everything ends that was on a lost machine: what was seen of it, and
/// what its provider says.
async fn lost(shared: &Shared, machine: &MachineId, reason: &str) -> Ended {
    let seen = format!("machine {machine} was lost: {reason}");
    Ended::because(
        Outcome::NoMachine,
        match shared.provider.diagnose(machine).await {
            Some(said) => format!("{said}\n{seen}"),
            None => seen,
        },
    )
}

/// Waits for what ends a pipeline before its steps are done.
async fn early_end(
    stop: &CancellationToken,
    over: Option<tokio::time::Instant>,
    timeout: Option<Duration>,
) -> Ended {
    let is_over = async {
        match over {
            Some(over) => tokio::time::sleep_until(over).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => interrupted(),
        () = is_over => {
            let timeout = crate::screen::human(timeout.unwrap_or_default());
            Ended::because(Outcome::Failure, format!("the pipeline was over its time of {timeout}"))
        }
    }
}

fn interrupted() -> Ended {
    Ended::because(Outcome::Cancelled, INTERRUPTED)
}

/// How a step ended that was stopped: as what cut its pipeline short, or well,
/// because it ran beside the others until they were done.
fn stopped(cut_short: Option<&Ended>) -> Ended {
    cut_short.cloned().unwrap_or_else(Ended::success)
}

/// Shows what happened since the last call.
pub(super) async fn tell(events: &Events, book: &mut Book) {
    for event in book.take_events() {
        events.show(event).await;
    }
}
