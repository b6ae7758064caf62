//! Brings the logs of steps to the incumbent's log service, or into files.
//!
//! Nobody waits for it but the stage's end, and that not for ever. How far it
//! has come is in the stage's journal: an agent after this one goes on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use vmpool_proto::incumbent::{LogConfig, SetupRequest, StartStepRequest};

use super::desk::Inner;
use super::journal::Entry;
use super::stage::{Slot, Stage, Task};
use crate::agent::chain;
use crate::host::RunningStep;
use crate::livelog::{Client, ClientConfig, FileStore, Pace, Settings, Uploaded, Uploader};

/// Begins to bring the log of a step that runs or is over, if it is wanted
/// anywhere.
pub(super) fn bring_in_background(desk: &Arc<Inner>, stage: &Arc<Stage>, task: &Task) {
    let Some(step) = task.slot.progress().borrow().running.clone() else {
        return;
    };
    let uploader = match uploader(desk, &stage.setup(), task, &step) {
        Ok(Some(uploader)) => uploader,
        Ok(None) => return,
        Err(reason) => {
            return tracing::warn!(step = %task.slot.id, reason, "the log is brought nowhere");
        }
    };
    let work = bring(
        desk.clone(),
        stage.clone(),
        task.slot.clone(),
        step,
        uploader,
    );
    stage.uploads.spawn(work);
}

async fn bring(
    desk: Arc<Inner>,
    stage: Arc<Stage>,
    slot: Arc<Slot>,
    step: RunningStep,
    uploader: Uploader,
) {
    let id = slot.id.as_str();
    let mut sent = uploader.sent();
    let bringing = uploader.run(slot.log(&step, 0), desk.closing.clone());
    tokio::pin!(bringing);
    let brought = loop {
        tokio::select! {
            biased;
            brought = &mut bringing => break brought,
            // The sender goes with the work.
            Ok(()) = sent.changed() => {
                let lines = *sent.borrow_and_update();
                stage.note(&Entry::Sent { id: id.to_owned(), lines });
            }
        }
    };
    tell(&slot, &brought);
    if !brought.cancelled {
        stage.note(&Entry::Brought { id: id.to_owned() });
    }
}

fn uploader(
    desk: &Inner,
    setup: &SetupRequest,
    task: &Task,
    step: &RunningStep,
) -> Result<Option<Uploader>, String> {
    let request = &task.request;
    if request.log_drone || request.log_key.is_empty() {
        return Ok(None);
    }
    let settings = settings(&setup.log_config, request, task.sent);
    if setup.log_config.url.is_empty() {
        let path = FileStore::path(&desk.config.shared, &request.log_key);
        let path = path.map_err(|error| chain(&error))?;
        let begun = Duration::from_millis(step.record().started_at.0);
        let begun = SystemTime::UNIX_EPOCH + begun;
        let file = FileStore::create(&path, begun).map_err(|error| chain(&error))?;
        return Ok(Some(Uploader::to_file(file, settings)));
    }
    let client = client(&setup.log_config)?;
    Ok(Some(Uploader::to_service(client, settings)))
}

/// Made anew for each log: another setup may name another service, and an idle
/// agent keeps no connections.
fn client(config: &LogConfig) -> Result<Client, String> {
    let client = Client::new(ClientConfig {
        url: config.url.clone(),
        account: config.account_id.clone(),
        token: config.token.clone(),
        indirect: config.indirect_upload,
        pace: Pace::default(),
    });
    client.map_err(|error| chain(&error))
}

fn settings(config: &LogConfig, request: &StartStepRequest, sent: u64) -> Settings {
    let own = &request.log_config;
    Settings {
        key: request.log_key.clone(),
        skip_opening: config.skip_opening_stream || own.skip_opening_stream,
        skip_closing: config.skip_closing_stream || own.skip_closing_stream,
        trim_newline: config.trim_new_line_suffix,
        sent_before: sent,
    }
}

fn tell(slot: &Slot, brought: &Uploaded) {
    if brought.is_complete() || brought.cancelled {
        return;
    }
    let live = brought.live.as_ref().map(|error| chain(error));
    let blob = brought.blob.as_ref().map(|error| chain(error));
    let close = brought.close.as_ref().map(|error| chain(error));
    let file = brought.file.as_ref().map(|error| chain(error));
    let read = brought.read.as_ref().map(|error| chain(error));
    tracing::warn!(step = %slot.id, ?live, ?blob, ?close, ?file, ?read, "a log was not brought whole");
}
