//! One step from its request to its answer.

use std::sync::Arc;

use vmpool_core::agent::{Content, StepRecord};
use vmpool_core::{Clock, StepOutcome};
use vmpool_proto::incumbent::StartStepRequest;

use super::collect::{Collected, Ended};
use super::desk::Inner;
use super::folder::Folder;
use super::plan::{self, Surroundings};
use super::stage::{End, Stage, Task};
use super::{annotations, files, logs, result};
use crate::agent::chain;
use crate::host::RunningStep;

/// Starts the step, unless it runs already, and answers everybody once it is
/// over. Ends early only when the agent stops: the next one goes on.
pub(super) async fn see_to_end(desk: Arc<Inner>, stage: Arc<Stage>, task: Task) {
    if let Some(handle) = &task.handle {
        desk.identities.register(handle, task.request.clone());
    }
    let running = task.slot.progress().borrow().running.clone();
    let running = match running {
        Some(running) => Ok(running),
        None => begin(&desk, &stage, &task).await,
    };
    let end = match running {
        Ok(running) => {
            task.slot.runs(running.clone());
            logs::bring_in_background(&desk, &stage, &task);
            let Ok(outcome) = running.wait().await else {
                return;
            };
            finish(&desk, &stage, &task, outcome).await
        }
        Err(reason) if desk.closing.is_cancelled() => {
            return tracing::debug!(step = %task.slot.id, reason, "stopped at a step's start");
        }
        Err(reason) => {
            Folder::of(&desk.config.shared, &task.slot.id).remove();
            End {
                answer: result::failed(reason),
                epilogue: String::new(),
            }
        }
    };
    if let Some(handle) = &task.handle {
        desk.identities.forget(handle);
    }
    stage.answer(&task.slot, &task.request.stage_runtime_id, end);
}

async fn begin(desk: &Inner, stage: &Stage, task: &Task) -> Result<RunningStep, String> {
    let folder = Folder::of(&desk.config.shared, &task.slot.id);
    let record = StepRecord {
        id: task.slot.id.clone(),
        content: Content::default(),
        started_at: Clock::system().now(),
    };
    let order = {
        let (exported, learned) = stage.left(&task.request.stage_runtime_id);
        let setup = stage.setup();
        let around = surroundings(desk, &setup, &exported, &learned, &folder, task);
        plan::order(&task.request, &around, record)?
    };
    let request = task.request.clone();
    let prepared = tokio::task::spawn_blocking(move || prepare(&request, &folder));
    prepared.await.map_err(|error| error.to_string())??;
    let started = stage.host.start(order).await;
    started.map_err(|error| chain(&error))
}

/// Blocks.
fn prepare(request: &StartStepRequest, folder: &Folder) -> Result<(), String> {
    let made = folder.make(&request.user);
    made.map_err(|error| format!("make the step's folder: {error}"))?;
    files::write_all(&request.files).map_err(|error| chain(&error))
}

async fn finish(desk: &Inner, stage: &Stage, task: &Task, outcome: StepOutcome) -> End {
    let folder = Folder::of(&desk.config.shared, &task.slot.id);
    let (exported, learned) = stage.left(&task.request.stage_runtime_id);
    let setup = stage.setup();
    let around = surroundings(desk, &setup, &exported, &learned, &folder, task);
    let env = plan::environment(&task.request, &around);
    let ended = Ended {
        request: task.request.clone(),
        outcome,
        env,
        secrets: plan::secrets(&task.request, &around),
        workdir: desk.config.workdir.join(&task.request.working_dir),
        folder,
    };
    let collected = tokio::task::spawn_blocking(move || ended.collect()).await;
    match collected {
        Ok(Collected { end, annotations }) => {
            if let Some(annotations) = annotations {
                let closing = desk.closing.clone();
                let request = task.request.clone();
                annotations::post_in_background(stage, closing, request, &setup, annotations);
            }
            end
        }
        Err(error) => End {
            answer: result::failed(format!("collect what the step returns: {error}")),
            epilogue: String::new(),
        },
    }
}

fn surroundings<'a>(
    desk: &'a Inner,
    setup: &'a vmpool_proto::incumbent::SetupRequest,
    exported: &'a std::collections::BTreeMap<String, String>,
    learned: &'a [String],
    folder: &'a Folder,
    task: &'a Task,
) -> Surroundings<'a> {
    let handle = task.handle.as_deref();
    Surroundings {
        setup,
        environment: &desk.config.environment,
        exported,
        learned,
        folder,
        workdir: &desk.config.workdir,
        identity: handle.map(|handle| (handle, desk.identities.url())),
    }
}
