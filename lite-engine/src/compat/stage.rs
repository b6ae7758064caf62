//! One stage of the incumbent's protocol: its setup, and its steps from being
//! asked for to being answered, kept on the disk.
//!
//! ```text
//! asked ──► running ──► answered        a step, by its id
//!    └─────────────────────┘            one that can't be carried out
//! ```
//!
//! Invariants:
//! - a step id is one step, for the life of the stage: what is asked for again
//!   is the same, or refused with the field that differs (P9);
//! - an answer never changes, and is on the disk before anybody gets it (P5);
//! - everybody who waits for a step gets its answer.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use vmpool_core::StepId;
use vmpool_proto::incumbent::{PollStepAnswer, SetupRequest, StartStepRequest};

use super::fingerprint::Fingerprint;
use super::journal::{Entry, Journal};
use super::result;
use crate::host::{Host, HostConfig, OpenError, RESTARTED, RunningStep};
use crate::log::LogReader;

/// A stage that is being opened could not be.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageOpenError {
    #[error(transparent)]
    Host(#[from] OpenError),
    #[error("open {}", path.display())]
    Journal { path: PathBuf, source: io::Error },
}

/// How a step ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) answer: PollStepAnswer,
    /// What its log ends with, after its own output.
    pub(super) epilogue: String,
}

/// How far a step has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) running: Option<RunningStep>,
    pub(super) end: Option<Arc<End>>,
}

/// One step.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: StepId,
    pub(super) detached: bool,
    pub(super) log_drone: bool,
    fingerprint: Fingerprint,
    progress: watch::Sender<Progress>,
    /// What the log ends with, once that is known.
    epilogue: watch::Sender<Option<Bytes>>,
}

impl Slot {
    fn new(id: StepId, request: &StartStepRequest) -> Self {
        Self {
            id,
            detached: request.detach,
            log_drone: request.log_drone,
            fingerprint: Fingerprint::of(request),
            progress: watch::Sender::default(),
            epilogue: watch::Sender::default(),
        }
    }

    /// The log of this step, which runs or is over, from byte `offset` to its
    /// very end.
    pub(super) fn log(&self, step: &RunningStep, offset: u64) -> LogReader {
        step.log(offset).followed_by(self.epilogue.subscribe())
    }

    /// Bytes in the log so far.
    pub(super) fn log_end(&self) -> u64 {
        let printed = self
            .progress
            .borrow()
            .running
            .as_ref()
            .map(RunningStep::log_end);
        let epilogue = self.epilogue.borrow().as_ref().map_or(0, Bytes::len);
        printed.unwrap_or(0) + epilogue as u64
    }

    fn ends(&self, end: End) {
        let epilogue = Bytes::copy_from_slice(end.epilogue.as_bytes());
        self.epilogue.send_replace(Some(epilogue));
        self.progress
            .send_modify(|progress| progress.end = Some(Arc::new(end)));
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn runs(&self, step: RunningStep) {
        self.progress
            .send_modify(|progress| progress.running = Some(step));
    }
}

/// A step that has to be carried out, or seen to its end.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) slot: Arc<Slot>,
    pub(super) request: Arc<StartStepRequest>,
    pub(super) handle: Option<String>,
    /// Lines of its log that are in the live stream already.
    pub(super) sent: u64,
}

/// What is left to do for the steps of a stage that was found on the disk.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Steps that are not answered; some were never begun.
    pub(super) steps: Vec<Task>,
    /// Answered ones whose logs are not where they are wanted.
    pub(super) logs: Vec<Task>,
}

/// What asking for a step came to.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is to be carried out now.
    New(Task),
    /// It was asked for before.
    Known,
    /// Another step was asked for under this id; this field differs.
    Conflict(String),
    /// The stage has ended.
    Over,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) host: Host,
    dir: PathBuf,
    journal: Journal,
    table: Mutex<Table>,
    /// Told when a step was asked for.
    asked: watch::Sender<()>,
    /// Logs on their way.
    pub(super) uploads: TaskTracker,
}

#[derive(Debug, Default)]
struct Table {
    setup: Arc<SetupRequest>,
    over: bool,
    steps: HashMap<StepId, Arc<Slot>>,
    /// By the stage's id at the manager: variables for later steps.
    exported: HashMap<String, BTreeMap<String, String>>,
    /// Secrets that steps returned.
    learned: Vec<String>,
}

impl Stage {
    /// Opens the stage in `host.dir`'s parent, as the agent before left it, with
    /// the steps that have to be seen to their ends. Within a tokio runtime.
    pub(super) fn open(dir: &Path, host: HostConfig) -> Result<(Self, Remains), StageOpenError> {
        let host = Host::open(host)?;
        let path = dir.join("journal");
        let (journal, entries) =
            Journal::open(&path).map_err(|source| StageOpenError::Journal { path, source })?;
        let mut table = Table::default();
        let mut found = HashMap::new();
        for entry in entries {
            table.take_up(entry, &mut found);
        }
        let mut remains = Remains::default();
        let mut never = Vec::new();
        for (id, Found { task, brought }) in found {
            let answered = task.slot.progress.borrow().end.is_some();
            let step = host.step(&id);
            table.steps.insert(id, task.slot.clone());
            let known = step.is_some();
            if let Some(step) = step {
                task.slot.runs(step);
            }
            match (known, answered) {
                (true, true) if !brought => remains.logs.push(task),
                (_, true) => {}
                // It was taken on and never executed: it is now, if it still may be.
                (false, false) if table.over => never.push((task, "the stage has ended")),
                (false, false) if host.was_restarted() => never.push((task, RESTARTED)),
                (_, false) => remains.steps.push(task),
            }
        }
        let stage = Self {
            host,
            dir: dir.to_owned(),
            journal,
            table: Mutex::new(table),
            asked: watch::Sender::default(),
            uploads: TaskTracker::new(),
        };
        for (task, why) in never {
            let end = End {
                answer: result::failed(format!("the step was lost: {why}")),
                epilogue: String::new(),
            };
            stage.answer(&task.slot, &task.request.stage_runtime_id, end);
        }
        Ok((stage, remains))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn setup(&self) -> Arc<SetupRequest> {
        self.table.lock().setup.clone()
    }

    /// The stage has ended.
    pub(super) fn is_over(&self) -> bool {
        self.table.lock().over
    }

    pub(super) fn set_up(&self, request: SetupRequest) -> io::Result<()> {
        let request = Box::new(request);
        let entry = Entry::Setup(request);
        self.journal.add(&entry)?;
        if let Entry::Setup(request) = entry {
            self.table.lock().setup = Arc::from(request);
        }
        Ok(())
    }

    /// No step is taken any more.
    pub(super) fn end(&self) -> io::Result<()> {
        if std::mem::replace(&mut self.table.lock().over, true) {
            return Ok(());
        }
        self.journal.add(&Entry::Destroyed)
    }

    /// Somebody asks for a step.
    pub(super) fn ask(
        &self,
        id: StepId,
        request: StartStepRequest,
        handle: Option<String>,
    ) -> io::Result<Asked> {
        let mut table = self.table.lock();
        if let Some(slot) = table.steps.get(&id) {
            let differs = slot.fingerprint.differs(&Fingerprint::of(&request));
            return Ok(differs.map_or(Asked::Known, Asked::Conflict));
        }
        if table.over {
            return Ok(Asked::Over);
        }
        let entry = Entry::Asked {
            request: Box::new(request.clone()),
            handle: handle.clone(),
        };
        self.journal.add(&entry)?;
        let slot = Arc::new(Slot::new(id.clone(), &request));
        table.steps.insert(id, slot.clone());
        drop(table);
        self.asked.send_replace(());
        let request = Arc::new(request);
        Ok(Asked::New(Task {
            slot,
            request,
            handle,
            sent: 0,
        }))
    }

    pub(super) fn slot(&self, id: &StepId) -> Option<Arc<Slot>> {
        self.table.lock().steps.get(id).cloned()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.table.lock().steps.values().cloned().collect()
    }

    /// Changes whenever a step is asked for.
    pub(super) fn asked(&self) -> watch::Receiver<()> {
        self.asked.subscribe()
    }

    /// What earlier steps left for later ones, and the secrets that they returned.
    pub(super) fn left(&self, stage_runtime_id: &str) -> (BTreeMap<String, String>, Vec<String>) {
        let table = self.table.lock();
        let exported = table.exported.get(stage_runtime_id).cloned();
        (exported.unwrap_or_default(), table.learned.clone())
    }

    /// A step is over, and this is said of it from now on.
    pub(super) fn answer(&self, slot: &Slot, stage_runtime_id: &str, end: End) {
        let entry = Entry::Answered {
            id: slot.id.as_str().to_owned(),
            answer: Box::new(end.answer.clone()),
            epilogue: end.epilogue.clone(),
        };
        if let Err(error) = self.journal.add(&entry) {
            // A restarted agent finds the step's end out once more.
            tracing::error!(step = %slot.id, %error, "write down a step's answer");
        }
        self.table.lock().learn(stage_runtime_id, &end.answer);
        slot.ends(end);
    }

    /// How far a step's log has come; should the agent be killed, the next goes on there.
    pub(super) fn note(&self, entry: &Entry) {
        if let Err(error) = self.journal.add(entry) {
            tracing::warn!(%error, "write down how far a log has come");
        }
    }
}

/// A step in the journal.
struct Found {
    task: Task,
    brought: bool,
}

impl Table {
    fn take_up(&mut self, entry: Entry, found: &mut HashMap<StepId, Found>) {
        match entry {
            Entry::Setup(setup) => self.setup = Arc::from(setup),
            Entry::Asked { request, handle } => {
                let id = StepId::new(request.id.as_str());
                let slot = Arc::new(Slot::new(id.clone(), &request));
                let request = Arc::from(request);
                let task = Task {
                    slot,
                    request,
                    handle,
                    sent: 0,
                };
                let brought = false;
                found.insert(id, Found { task, brought });
            }
            Entry::Answered {
                id,
                answer,
                epilogue,
            } => {
                if let Some(Found { task, .. }) = found.get(id.as_str()) {
                    self.learn(&task.request.stage_runtime_id, &answer);
                    let answer = *answer;
                    task.slot.ends(End { answer, epilogue });
                }
            }
            Entry::Sent { id, lines } => {
                if let Some(found) = found.get_mut(id.as_str()) {
                    found.task.sent = lines;
                }
            }
            Entry::Brought { id } => {
                if let Some(found) = found.get_mut(id.as_str()) {
                    found.brought = true;
                }
            }
            Entry::Destroyed => self.over = true,
        }
    }

    fn learn(&mut self, stage_runtime_id: &str, answer: &PollStepAnswer) {
        if !answer.envs.is_empty() {
            let exported = self.exported.entry(stage_runtime_id.to_owned());
            exported.or_default().extend(answer.envs.clone());
        }
        let secrets = answer
            .output_v2
            .iter()
            .filter(|output| output.kind == "SECRET");
        self.learned
            .extend(secrets.map(|output| output.value.clone()));
    }
}
