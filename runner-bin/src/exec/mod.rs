//! `vmpool exec`: runs a pipeline file here, now, on warm local machines.
//!
//! ```text
//! file, git, options ─► plan ─► deployment: a pool that warms ─► run ─► summary
//!                        │ a mistake: exit 2, nothing was started
//! ```
//!
//! Everything that happens goes to the screen as [`events`]; nothing here
//! prints. Each run is a [`deployment`] of its own.

mod book;
mod command;
mod deployment;
mod environment;
pub(crate) mod events;
mod facts;
mod input;
pub(crate) mod lines;
pub(crate) mod name;
mod plan;
mod refusal;
mod repository;
mod run;
mod run_pipeline;
mod run_step;
mod state;
mod step_log;
pub(crate) mod summary;
mod variables;
mod warnings;

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use self::deployment::Deployment;
use self::events::{Event, Events, PlannedPipeline, WeakEvents};
use self::input::Input;
use self::plan::Plan;
use self::summary::{PipelineSummary, Summary};
use crate::cli::ExecArgs;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::interrupt::Signals;
use crate::screen::{self, Kind, Shown};

/// Runs the command. Must be called within a tokio runtime.
pub(crate) async fn exec(args: ExecArgs) -> Result<Exit, Stopped> {
    let signals = Signals::catch()
        .context("catch signals")
        .or_exit(Exit::Failed)?;
    let kind = Kind::choose(args.json, args.plain);
    let Input { file, plan, jobs } = Input::read(&args)?;

    let (events, shown) = Events::new();
    let screen = screen::start(kind, shown)
        .context("open standard output")
        .or_exit(Exit::Failed)?;
    let stop = CancellationToken::new();
    tokio::select! {
        // Machines are attached: they end with this process.
        () = obey(signals, &stop, events.downgrade()) => Ok(Exit::Interrupted),
        done = run_and_show(file, plan, jobs, events, &stop, screen) => done,
    }
}

/// The first signal stops the run; at the second this returns.
async fn obey(mut signals: Signals, stop: &CancellationToken, events: WeakEvents) {
    let signal = signals.next().await;
    stop.cancel();
    tokio::select! {
        // Also while the screen takes nothing.
        _ = signals.next() => return,
        () = events.show(Event::Interrupted { signal }) => {}
    }
    signals.next().await;
}

/// Runs the plan, and stops when nobody sees it any more.
async fn run_and_show(
    file: String,
    plan: Plan,
    jobs: u32,
    events: Events,
    stop: &CancellationToken,
    mut screen: Shown,
) -> Result<Exit, Stopped> {
    let work = work(file, plan, jobs, events, stop);
    let mut work = std::pin::pin!(work);
    let done = tokio::select! {
        done = &mut work => done,
        closed = screen.ended() => {
            stop.cancel();
            let done = work.await;
            return match closed {
                // As a program that SIGPIPE ends: who reads has read enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    done.map(|_| Exit::Interrupted)
                }
                closed => closed.context("write to standard output").or_exit(Exit::Failed)
                    .and(done),
            };
        }
    };
    // The events' senders are gone with the work, so this ends.
    match screen.ended().await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error)
            .context("write to standard output")
            .or_exit(Exit::Failed),
        _ => done,
    }
}

/// From the first event to the last.
async fn work(
    file: String,
    plan: Plan,
    jobs: u32,
    events: Events,
    stop: &CancellationToken,
) -> Result<Exit, Stopped> {
    for message in &plan.warnings {
        events
            .show(Event::Warning {
                message: message.clone(),
            })
            .await;
    }
    let pipelines = planned(&plan);
    let limit = jobs.min(u32::try_from(pipelines.len()).unwrap_or(u32::MAX));
    events
        .show(Event::Started {
            file,
            jobs: limit,
            pipelines,
        })
        .await;
    let (pipelines, warmed) = if limit == 0 {
        (run::run_nothing(plan, &events).await, None)
    } else {
        on_pool(plan, limit, &events, stop)
            .await
            .or_exit(Exit::NoMachine)?
    };
    let summary = Summary::of(pipelines, events.elapsed(), warmed, stop.is_cancelled());
    let exit = summary.exit();
    events.show(Event::Summary(summary)).await;
    Ok(exit)
}

/// Runs the plan on a pool of at most `limit` machines of its own, which is
/// gone afterwards. Says also how long the pool took until it was warm, if it was.
async fn on_pool(
    plan: Plan,
    limit: u32,
    events: &Events,
    stop: &CancellationToken,
) -> anyhow::Result<(Vec<PipelineSummary>, Option<Duration>)> {
    let since = Instant::now();
    let deployment = Deployment::start(limit, limit).await?;
    let is_warm = tokio::select! {
        is_warm = deployment.warm(limit, events) => is_warm,
        () = stop.cancelled() => false,
    };
    let warmed = is_warm.then(|| since.elapsed());
    let pipelines = run::run(plan, limit, &deployment, events, stop).await;
    if let Some(message) = deployment.stop().await {
        events.show(Event::Warning { message }).await;
    }
    Ok((pipelines, warmed))
}

/// The pipelines that may run, for the first event.
fn planned(plan: &Plan) -> Vec<PlannedPipeline> {
    plan.schedule
        .tasks()
        .zip(&plan.pipelines)
        .filter(|((task, _), _)| task.skip.is_none())
        .map(|(_, pipeline)| PlannedPipeline {
            name: pipeline.name.clone(),
            steps: pipeline
                .tasks
                .iter()
                .map(|task| task.name.clone())
                .collect(),
        })
        .collect()
}
