//! A stage and its steps as the runner holds them, from the request for a
//! machine until nothing of it is left there. Pure memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;

use super::RunnerError;
use crate::clock::Timestamp;
use crate::executor::ExecutorError;
use crate::id::{MachineId, StageId, StepId};
use crate::map::Map;
use crate::pool::{AttachError, Lease};
use crate::stage::{StageError, StepHash};
use crate::step::{Step, StepOutcome};

/// Where a stage is, as far as its steps care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Steps may run.
    Open,
    /// It has ended, for this reason: running steps are cancelled, and what the
    /// machine has of them is collected.
    Ending(Arc<str>),
    /// Its machine can't be asked any more: what is not known by now is lost.
    Over(Arc<str>),
}

/// A stage.
#[derive(Debug)]
pub(super) struct StageEntry {
    pub(super) id: StageId,
    /// Its right to its machine, while it has one.
    lease: Mutex<Option<Lease>>,
    /// Set when a machine has taken the setup; whoever sets it, others wait. Who
    /// does, and nobody else, gives up what could not be prepared.
    pub(super) prepared: OnceCell<MachineId>,
    /// It was destroyed while it had no machine.
    pub(super) destroyed: CancellationToken,
    pub(super) phase: watch::Sender<Phase>,
    /// All of its steps: one that is not here was never sent.
    steps: Mutex<Map<StepId, Arc<StepEntry>>>,
    /// Steps that are followed now.
    running: watch::Sender<usize>,
    /// Requests for its machine that are under way.
    pub(super) asking: Mutex<usize>,
}

/// A step of a stage.
#[derive(Debug)]
pub(super) struct StepEntry {
    pub(super) id: StepId,
    /// When it was asked for. None: it was found, and the journal knows.
    pub(super) since: Option<Timestamp>,
    /// What it runs. None: nobody has said so since it was found.
    hash: Mutex<Option<StepHash>>,
    /// The step itself, in memory only. None: whoever follows it knows its id alone.
    pub(super) content: watch::Sender<Option<Arc<Step>>>,
    /// It is in the journal that the step was sent.
    sent: AtomicBool,
    pub(super) told: watch::Sender<Told>,
}

/// What those who wait for a step are told.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Nothing,
    /// It can't be learned now how it goes; it is tried on.
    Trouble(RunnerError),
    /// It ended, durably.
    Ended(StepOutcome),
    /// It was not taken: the same id may be tried again.
    Refused(RunnerError),
}

/// A step as who asks for it finds it.
pub(super) struct Asked {
    pub(super) step: Arc<StepEntry>,
    /// Nobody follows it yet: that is the asker's to do.
    pub(super) new: bool,
    told: watch::Receiver<Told>,
}

impl StageEntry {
    pub(super) fn new(id: StageId, lease: Option<Lease>, phase: Phase) -> Arc<Self> {
        Arc::new(Self {
            id,
            lease: Mutex::new(lease),
            prepared: OnceCell::new(),
            destroyed: CancellationToken::new(),
            phase: watch::Sender::new(phase),
            steps: Mutex::default(),
            running: watch::Sender::new(0),
            asking: Mutex::new(0),
        })
    }

    /// Its right to its machine, if it has one.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease.lock().clone()
    }

    pub(super) fn has_machine(&self) -> bool {
        self.lease.lock().is_some()
    }

    /// It has the machine of this lease from now on; without one, it waits for another.
    pub(super) fn now_has(&self, lease: Option<Lease>) {
        *self.lease.lock() = lease;
    }

    /// One less asks for its machine. True: nobody does any more, it has none,
    /// and nothing of it is left.
    pub(super) fn asked_in_vain(&self) -> bool {
        let mut asking = self.asking.lock();
        *asking -= 1;
        *asking == 0 && !self.has_machine() && !self.is_followed()
    }

    /// Nobody but the caller asks for its machine.
    pub(super) fn is_asked_once(&self) -> bool {
        *self.asking.lock() == 1
    }

    pub(super) fn step(&self, id: &StepId) -> Option<Arc<StepEntry>> {
        self.steps.lock().get(id).cloned()
    }

    /// The step that `step` is, made where there is none.
    ///
    /// # Errors
    /// The id was used for another step.
    pub(super) fn step_for(
        &self,
        step: Step,
        hash: StepHash,
        now: Timestamp,
    ) -> Result<Asked, ExecutorError> {
        let mut steps = self.steps.lock();
        let known = steps.get(&step.id).cloned();
        let new = known.is_none();
        let entry = known.unwrap_or_else(|| StepEntry::new(step.id.clone(), Some(hash), Some(now)));
        entry.is(hash)?;
        entry.give(step);
        if new {
            steps.insert(entry.id.clone(), entry.clone());
        }
        // Under the lock: a step that is refused is forgotten before it is told so.
        let told = entry.told.subscribe();
        Ok(Asked {
            step: entry,
            new,
            told,
        })
    }

    /// The step of this id, for who waits for its end.
    pub(super) fn asked(&self, id: &StepId) -> Option<Asked> {
        let steps = self.steps.lock();
        let step = steps.get(id)?.clone();
        Some(Asked {
            told: step.told.subscribe(),
            step,
            new: false,
        })
    }

    /// Takes in a step that the journal has. True: nobody had it here yet.
    pub(super) fn found(&self, step: &Arc<StepEntry>) -> bool {
        let mut steps = self.steps.lock();
        if steps.contains_key(&step.id) {
            return false;
        }
        steps.insert(step.id.clone(), step.clone());
        true
    }

    /// A step that was not taken is forgotten, so that it may be tried again.
    pub(super) fn forget(&self, step: &Arc<StepEntry>) {
        let mut steps = self.steps.lock();
        if steps
            .get(&step.id)
            .is_some_and(|known| Arc::ptr_eq(known, step))
        {
            steps.remove(&step.id);
        }
    }

    pub(super) fn begin_following(&self) {
        self.running.send_modify(|running| *running += 1);
    }

    pub(super) fn end_following(&self) {
        self.running.send_modify(|running| *running -= 1);
    }

    /// Steps are followed.
    pub(super) fn is_followed(&self) -> bool {
        *self.running.borrow() > 0
    }

    /// Waits until no step is followed any more.
    pub(super) async fn nothing_followed(&self) {
        // The sender lives as long as `self`.
        let _ = self
            .running
            .subscribe()
            .wait_for(|running| *running == 0)
            .await;
    }

    /// It has ended; the first reason stays.
    pub(super) fn end(&self, reason: &str) {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Open;
            if first {
                *phase = Phase::Ending(reason.into());
            }
            first
        });
    }

    /// Its machine can't be asked any more. Why the stage ended is the better reason.
    pub(super) fn over(&self, reason: &str) {
        self.phase.send_if_modified(|phase| {
            *phase = match phase {
                Phase::Over(_) => return false,
                Phase::Ending(why) => Phase::Over(why.clone()),
                Phase::Open => Phase::Over(reason.into()),
            };
            true
        });
    }

    /// Waits until the stage has ended; says why.
    pub(super) async fn ended(&self) -> Arc<str> {
        self.reached(|phase| match phase {
            Phase::Open => None,
            Phase::Ending(why) | Phase::Over(why) => Some(why.clone()),
        })
        .await
    }

    /// Waits until the machine can't be asked any more; says why.
    pub(super) async fn lost(&self) -> Arc<str> {
        self.reached(|phase| match phase {
            Phase::Over(why) => Some(why.clone()),
            Phase::Open | Phase::Ending(_) => None,
        })
        .await
    }

    async fn reached(&self, why: impl Fn(&Phase) -> Option<Arc<str>>) -> Arc<str> {
        let mut phase = self.phase.subscribe();
        loop {
            if let Some(why) = why(&phase.borrow_and_update()) {
                return why;
            }
            // The sender lives as long as `self`.
            let _ = phase.changed().await;
        }
    }

    /// What is answered once the stage has ended for `reason`.
    pub(super) fn is_over(&self, reason: &str) -> RunnerError {
        RunnerError::Attach(AttachError::Over {
            stage: self.id.clone(),
            reason: reason.to_owned(),
        })
    }
}

impl StepEntry {
    pub(super) fn new(id: StepId, hash: Option<StepHash>, since: Option<Timestamp>) -> Arc<Self> {
        Arc::new(Self {
            id,
            since,
            hash: Mutex::new(hash),
            content: watch::Sender::new(None),
            sent: AtomicBool::new(false),
            told: watch::Sender::new(Told::Nothing),
        })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(*self.told.borrow(), Told::Ended(_))
    }

    pub(super) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn now_sent(&self) {
        self.sent.store(true, Ordering::Relaxed);
    }

    pub(super) fn hash(&self) -> Option<StepHash> {
        *self.hash.lock()
    }

    fn is(&self, hash: StepHash) -> Result<(), ExecutorError> {
        match self.hash() {
            Some(known) if known != hash => Err(conflict(&self.id)),
            _ => Ok(()),
        }
    }

    /// The step's content, for a follower that lacks it.
    fn give(&self, step: Step) {
        if !self.has_ended() {
            self.content.send_if_modified(|content| {
                let lacking = content.is_none();
                if lacking {
                    *content = Some(Arc::new(step));
                }
                lacking
            });
        }
    }

    pub(super) fn tell(&self, told: Told) {
        if matches!(told, Told::Ended(_)) {
            // Nobody needs to know any more what it ran.
            self.content.send_replace(None);
        }
        self.told.send_replace(told);
    }
}

impl Asked {
    /// The step's end, or what is told from now on that keeps it from being
    /// learned or taken.
    pub(super) async fn answer(mut self) -> Result<StepOutcome, RunnerError> {
        if let Told::Ended(outcome) = &*self.told.borrow() {
            return Ok(outcome.clone());
        }
        loop {
            // The sender lives as long as `self.step`.
            let _ = self.told.changed().await;
            match &*self.told.borrow_and_update() {
                Told::Nothing => {}
                Told::Ended(outcome) => return Ok(outcome.clone()),
                Told::Trouble(error) | Told::Refused(error) => return Err(error.clone()),
            }
        }
    }
}

/// The same step id with another content.
pub(super) fn conflict(step: &StepId) -> ExecutorError {
    ExecutorError::Conflict {
        what: format!("step {step}"),
        field: "content".to_owned(),
    }
}

impl From<ExecutorError> for RunnerError {
    fn from(error: ExecutorError) -> Self {
        Self::Stage(StageError::Executor(error))
    }
}
