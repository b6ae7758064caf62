//! Takes the incumbent's requests and has them carried out by a host of its
//! own, in its own directory.
//!
//! ```text
//! <dir>/stages/<n>/           one after the other; see `stages`
//! <shared>/step-<id>/         what a step finds and leaves; see `folder`
//! ```
//!
//! The directory says everything: a desk that is opened on it after a restart
//! gives the same answers, and sees running steps to their ends (P4).
//!
//! The incumbent's machines may be set up again once they were destroyed. A new
//! stage begins then, with no step of the one before (P2 is the runner's there).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vmpool_core::StepId;
use vmpool_proto::incumbent::{
    DestroyAnswer, PollRequest, PollStepAnswer, SetupRequest, StartStepRequest, StreamRequest,
};

use super::refused::Refused;
use super::stage::{Asked, Slot, Stage, Task};
use super::stream::Output;
use super::workload::Identities;
use super::{docker, files, folder, logs, plan, stages, stats, steps, workload};
use crate::agent::chain;
use crate::facts::{self, Sampler};
use crate::host::{StagePlan, remove};

/// How long `/stream_output` waits for its step to be asked for.
const STREAM_PATIENCE: Duration = Duration::from_secs(5);

/// How long a stage's end waits for the answers of its steps.
const ANSWERS_PATIENCE: Duration = Duration::from_secs(60);

/// How long a stage's end waits for the logs of its steps.
const LOGS_PATIENCE: Duration = Duration::from_secs(25);

/// What a desk works with.
#[derive(Clone, Debug)]
pub struct DeskConfig {
    /// Its own directory; only the agent's user may enter it.
    pub dir: PathBuf,
    /// The folder that agent and steps share.
    pub shared: PathBuf,
    /// What steps find in their environment below the stage's and their own.
    pub environment: BTreeMap<String, String>,
    /// Where a step begins that names no directory.
    pub workdir: PathBuf,
    /// Where steps ask for tokens of their workload identities.
    pub mint_url: String,
    /// The container engine, as `DOCKER_HOST` has it.
    pub docker: String,
    /// What `/healthz` connects to when it is asked whether there is a network.
    pub connectivity: String,
    /// Once it was destroyed there is no other stage: the machine is one stage's.
    pub one_stage: bool,
    /// A program that calls [`crate::holder::run_holder_if_asked`] first.
    pub holder_program: PathBuf,
}

/// A desk could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// A folder.
    #[error("{attempted} {}", path.display())]
    Folder {
        /// What was attempted.
        attempted: &'static str,
        /// On which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The stage that was there.
    #[error("take up the stage in {}: {reason}", path.display())]
    Stage {
        /// Where.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Answers the incumbent's requests. Clones are the same desk.
///
/// Dropping the last one leaves the steps running under their holders.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: DeskConfig,
    stage: Mutex<Arc<Stage>>,
    /// Held while a stage is set up or ended, by threads that may block.
    changing: Mutex<()>,
    pub(super) identities: Identities,
    sampler: Sampler,
    tasks: TaskTracker,
    pub(super) closing: CancellationToken,
}

impl Desk {
    /// Goes on where the desk before was. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the desk needs on the disk can't be had.
    pub fn open(mut config: DeskConfig) -> Result<Self, DeskError> {
        let failed = |attempted, path: &Path| {
            let path = path.to_owned();
            move |source| DeskError::Folder {
                attempted,
                path,
                source,
            }
        };
        config.shared =
            folder::make_shared(&config.shared).map_err(failed("share", &config.shared))?;
        let stages = stages::dir(&config);
        let numbers = stages::numbers(&stages).map_err(failed("read", &stages))?;
        let last = numbers.last().copied().unwrap_or(1);
        let (stage, remains) = stages::open(&config, last)?;
        let identities = Identities::new(config.mint_url.clone());
        let tasks = TaskTracker::new();
        let closing = CancellationToken::new();
        let sampler = Sampler::start(&tasks, closing.clone(), facts::EVERY);
        let desk = Self(Arc::new(Inner {
            config,
            stage: Mutex::new(Arc::new(stage)),
            changing: Mutex::default(),
            identities,
            sampler,
            tasks,
            closing,
        }));
        let stage = desk.stage();
        if stage.is_over() {
            desk.finish_ending(&stage);
        }
        for task in remains.steps {
            desk.see_to(&stage, task);
        }
        for task in remains.logs {
            logs::bring_in_background(&desk.0, &stage, &task);
        }
        for number in numbers.into_iter().filter(|number| *number < last) {
            let path = stages.join(number.to_string());
            remove(&path).map_err(failed("remove", &path))?;
        }
        Ok(desk)
    }

    /// Ends what an agent left that was killed while it ended the stage (P10).
    fn finish_ending(&self, stage: &Arc<Stage>) {
        let stage = stage.clone();
        self.0.tasks.spawn(async move {
            if let Err(error) = stage.host.clean_up().await {
                tracing::error!(error = chain(&error), "end a stage after a restart");
            }
        });
    }

    /// Stops answering and waits for what is under way. The steps run on.
    pub async fn close(&self) {
        self.0.closing.cancel();
        let stage = self.stage();
        stage.uploads.close();
        stage.uploads.wait().await;
        stage.host.close().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Tells everybody who waits for a step to ask the next agent.
    pub(super) fn stop_waiting(&self) {
        self.0.closing.cancel();
    }

    /// Has the desk's end wait for this.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(work);
    }

    /// Cancelled once the desk stops.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    pub(super) fn connectivity(&self) -> &str {
        &self.0.config.connectivity
    }

    pub(super) fn identities(&self) -> &Identities {
        &self.0.identities
    }

    pub(super) async fn set_up(&self, request: SetupRequest) -> Result<(), Refused> {
        plan::expressions(&request).map_err(Refused::bad)?;
        if request.mount_docker_socket != Some(false) {
            docker::reach(&self.0.config.docker)
                .await
                .map_err(Refused::failed)?;
        }
        let desk = self.clone();
        let prepared = self.0.tasks.spawn_blocking(move || desk.prepare(request));
        prepared
            .await
            .unwrap_or_else(|error| Err(Refused::failed(error.to_string())))?;
        // Also starts what forks the holders, before the first step needs one.
        let prepared = self.stage().host.prepare(StagePlan::default()).await;
        prepared.map_err(|error| Refused::failed(chain(&error)))?;
        Ok(())
    }

    /// Blocks.
    fn prepare(&self, request: SetupRequest) -> Result<(), Refused> {
        let _alone = self.0.changing.lock();
        let mut stage = self.stage();
        if stage.is_over() && self.0.config.one_stage {
            let message = "the machine has served its stage";
            return Err(Refused::new(StatusCode::CONFLICT, message));
        }
        if stage.is_over() {
            stage = self.next_stage(&stage)?;
        }
        files::prepare(&request).map_err(|error| Refused::failed(chain(&error)))?;
        let written = stage.set_up(request);
        written.map_err(|error| Refused::failed(format!("write the setup: {error}")))
    }

    /// Begins a stage after one that is over, of which nothing is kept.
    fn next_stage(&self, before: &Arc<Stage>) -> Result<Arc<Stage>, Refused> {
        let number = before.dir().file_name().and_then(|name| name.to_str());
        let number: u64 = number.and_then(|name| name.parse().ok()).unwrap_or(0);
        let (stage, _) = stages::open(&self.0.config, number + 1)
            .map_err(|error| Refused::failed(chain(&error)))?;
        let stage = Arc::new(stage);
        let before = std::mem::replace(&mut *self.0.stage.lock(), stage.clone());
        self.0.tasks.spawn(async move {
            before.uploads.close();
            before.uploads.wait().await;
            before.host.close().await;
            if let Err(error) = remove(before.dir()) {
                tracing::warn!(%error, "remove a stage that is over");
            }
        });
        Ok(stage)
    }

    pub(super) fn start(&self, request: StartStepRequest) -> Result<(), Refused> {
        let id = step_id(&request.id)?;
        let stage = self.stage();
        let handle = workload::handle_for(&request);
        let handle = handle.map_err(|error| Refused::failed(error.to_string()))?;
        let asked = stage.ask(id, request, handle);
        match asked.map_err(|error| Refused::failed(format!("write the step down: {error}")))? {
            Asked::New(task) => self.see_to(&stage, task),
            Asked::Known => {}
            Asked::Conflict(field) => {
                let message =
                    format!("a step of this id was started before with another `{field}`");
                return Err(Refused::new(StatusCode::CONFLICT, message));
            }
            Asked::Over => return Err(Refused::bad("the stage was destroyed; set it up again")),
        }
        Ok(())
    }

    /// Carries a step out, or sees one to its end that runs.
    fn see_to(&self, stage: &Arc<Stage>, task: Task) {
        let work = steps::see_to_end(self.0.clone(), stage.clone(), task);
        self.0.tasks.spawn(work);
    }

    /// # Cancel safety
    /// Cancelling stops waiting and nothing else.
    pub(super) async fn poll(&self, request: PollRequest) -> Result<PollStepAnswer, Refused> {
        let id = step_id(&request.id)?;
        let slot = self.stage().slot(&id);
        let slot = slot.ok_or_else(|| Refused::bad("Step has not started"))?;
        let mut progress = slot.progress();
        if slot.detached {
            // Nobody waits for one in the background; who asks later is told its end.
            let end = progress.borrow().end.clone();
            return Ok(end.map_or_else(PollStepAnswer::default, |end| end.answer.clone()));
        }
        tokio::select! {
            biased;
            ended = progress.wait_for(|progress| progress.end.is_some()) => {
                let end = ended.ok().and_then(|progress| progress.end.clone());
                end.map(|end| end.answer.clone()).ok_or_else(Refused::stopping)
            }
            () = self.0.closing.cancelled() => Err(Refused::stopping()),
        }
    }

    pub(super) async fn stream(&self, request: StreamRequest) -> Result<Output, Refused> {
        let id = step_id(&request.id)?;
        let slot = timeout(STREAM_PATIENCE, self.streamed(&id)).await;
        let slot = slot.map_err(|_| Refused::bad("Step has not started"))?;
        let mut progress = slot.progress();
        let begun = progress.wait_for(|now| now.running.is_some() || now.end.is_some());
        let begun = tokio::select! {
            begun = begun => begun.is_ok(),
            () = self.0.closing.cancelled() => false,
        };
        if !begun {
            return Err(Refused::stopping());
        }
        Output::from(&slot, request.offset)
    }

    /// Waits until a step of this id is asked for whose output is for this.
    async fn streamed(&self, id: &StepId) -> Arc<Slot> {
        loop {
            let stage = self.stage();
            let mut asked = stage.asked();
            if let Some(slot) = stage.slot(id).filter(|slot| slot.log_drone) {
                return slot;
            }
            // A stage that is replaced drops this; then the new one is looked at.
            drop(stage);
            let _ = asked.changed().await;
        }
    }

    /// Ends the stage: nothing of its steps is left when this returns.
    pub(super) async fn destroy(&self) -> Result<DestroyAnswer, Refused> {
        let stage = self.stage();
        let ended = stage.end();
        ended.map_err(|error| Refused::failed(format!("write the stage's end down: {error}")))?;
        let cleaned = stage.host.clean_up().await;
        cleaned.map_err(|error| Refused::failed(chain(&error)))?;
        let answered = async {
            for slot in stage.slots() {
                let mut progress = slot.progress();
                // An error means that nobody is left to answer.
                let _ = progress.wait_for(|now| now.end.is_some()).await;
            }
        };
        if timeout(ANSWERS_PATIENCE, answered).await.is_err() {
            tracing::warn!("a stage has ended before all answers of its steps were known");
        }
        // The machine may go at once.
        stage.uploads.close();
        if timeout(LOGS_PATIENCE, stage.uploads.wait()).await.is_err() {
            tracing::warn!("a stage has ended before all logs of its steps were brought");
        }
        let os_stats = stats::told(&self.0.sampler.summary());
        Ok(DestroyAnswer { os_stats })
    }

    fn stage(&self) -> Arc<Stage> {
        self.0.stage.lock().clone()
    }
}

fn step_id(text: &str) -> Result<StepId, Refused> {
    if text.is_empty() {
        return Err(Refused::bad("ID needs to be set"));
    }
    StepId::parse(text).map_err(|error| Refused::bad(format!("id: {error}")))
}
