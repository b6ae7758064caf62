//! The one owner of the rules: puts calls and events to them. What they answer
//! is carried out in `effects`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vmpool_core::agent::{
    Call, EndReason, Event, Found, FoundStep, Refusal, Remains, Rules, Settings, StepRecord,
};
use vmpool_core::{StageId, StepId, Term};

use super::clock::MachineClock;
use super::input::{StageInput, StepInput};
use super::refuse::chain;
use super::store::{Setup, Store, StoreError};
use crate::host::{Cancel, Host, RunningStep};

/// How long all steps together have to end when the machine does.
const LAST_KILL: Duration = Duration::from_secs(5);

/// Why a call got no answer of the rules.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The rules refuse it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What had to be durable first is not. The call may be repeated.
    #[error(transparent)]
    NotDurable(StoreError),
}

/// The rules with what they rule over. Shared by all calls and tasks.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) state: Mutex<State>,
    /// Told after every change of the rules.
    pub(super) changed: watch::Sender<()>,
    pub(super) over: watch::Sender<Option<EndReason>>,
    pub(super) host: Host,
    pub(super) store: Store,
    pub(super) clock: MachineClock,
    tasks: TaskTracker,
    closing: CancellationToken,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) rules: Rules,
    /// The last preparation that the rules took.
    pub(super) stage: Option<StageInput>,
    /// What the stage's steps get; there once it was prepared.
    pub(super) setup: Option<Setup>,
    /// The step that the present call starts, if it is new.
    pub(super) starting: Option<(StepInput, Option<StepRecord>)>,
}

impl Engine {
    /// Goes on where an earlier agent of this machine was, or begins. Within a
    /// tokio runtime.
    pub(super) fn restore(
        settings: Settings,
        enrolled: bool,
        host: Host,
        store: Store,
        clock: MachineClock,
    ) -> Arc<Self> {
        let found = host.steps();
        let fence = store.fence().map_err(|error| chain(&error));
        let steps = found.iter().map(found_step).collect();
        let remains = Remains {
            enrolled,
            fence,
            stage: store.stage(),
            steps,
        };
        let (rules, effects) = Rules::restore(settings, remains, clock.now());
        let setup = store.setup().unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "what the stage was prepared with");
            None
        });
        let state = State {
            rules,
            stage: None,
            setup,
            starting: None,
        };
        let engine = Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::channel(()).0,
            over: watch::channel(None).0,
            host,
            store,
            clock,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        if let Err(error) = engine.carry_out(&mut engine.state.lock(), effects) {
            tracing::error!(error = chain(&error), "carry on after a restart");
        }
        for step in found.into_iter().filter(|step| !step.is_over()) {
            engine.spawn(Self::follow_to_end(engine.clone(), step));
        }
        engine.spawn(Self::tick(engine.clone()));
        engine
    }

    /// Puts a call to the rules and carries out what they answer. Blocks for an
    /// fsync where a term or a stage is new.
    pub(super) fn call(self: &Arc<Self>, call: Call) -> Result<(), CallError> {
        self.put(call, |_| ())
    }

    /// The same for a preparation, with what it is to prepare.
    pub(super) fn prepare(
        self: &Arc<Self>,
        call: Call,
        stage: StageInput,
    ) -> Result<(), CallError> {
        self.put(call, |state| state.stage = Some(stage))
    }

    /// The same for a step's start, with the step.
    pub(super) fn start(self: &Arc<Self>, call: Call, input: StepInput) -> Result<(), CallError> {
        self.put(call, |state| state.starting = Some((input, None)))
    }

    /// The runner has a step's log durably up to `offset`.
    pub(super) fn acknowledge(
        self: &Arc<Self>,
        term: Term,
        stage: StageId,
        step: StepId,
        offset: u64,
    ) -> Result<(), CallError> {
        if let Some(running) = self.host.step(&step) {
            self.event(Event::Output {
                step: step.clone(),
                log_end: running.log_end(),
            });
        }
        self.call(Call::Acknowledge {
            term,
            stage,
            step,
            offset,
        })
    }

    /// Tells the rules what happened.
    pub(super) fn event(self: &Arc<Self>, event: Event) {
        let mut state = self.state.lock();
        let effects = state.rules.event(event, self.clock.now());
        if let Err(error) = self.carry_out(&mut state, effects) {
            tracing::error!(
                error = chain(&error),
                "what must not be forgotten was not written"
            );
        }
    }

    /// Looks at the rules as they are now, the logs' ends included.
    pub(super) fn look<T>(self: &Arc<Self>, at: impl FnOnce(&Rules) -> T) -> T {
        for step in self.host.steps().iter().filter(|step| !step.is_over()) {
            self.event(Event::Output {
                step: step.id().clone(),
                log_end: step.log_end(),
            });
        }
        at(&self.state.lock().rules)
    }

    /// Waits until `at` finds something in the rules.
    pub(super) async fn until<T>(&self, mut at: impl FnMut(&Rules) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = at(&self.state.lock().rules) {
                return found;
            }
            // The sender lives as long as this.
            let _ = changed.changed().await;
        }
    }

    /// The step's process and log, once there are any.
    pub(super) fn step(&self, id: &StepId) -> Option<RunningStep> {
        self.host.step(id)
    }

    /// The stage's working directory, once it was prepared.
    pub(super) fn workdir(&self) -> Option<PathBuf> {
        self.state
            .lock()
            .setup
            .as_ref()
            .map(|setup| setup.workdir.clone())
    }

    /// Waits until the machine has to end.
    pub(super) async fn over(&self) -> EndReason {
        let mut over = self.over.subscribe();
        loop {
            if let Some(why) = over.borrow_and_update().clone() {
                return why;
            }
            let _ = over.changed().await;
        }
    }

    /// Runs `task` until it ends or the engine stops.
    pub(super) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        self.tasks
            .spawn(self.closing.clone().run_until_cancelled_owned(task));
    }

    /// Kills all steps, because the machine ends.
    pub(super) async fn kill_all(&self) {
        let steps = self.host.steps();
        for step in &steps {
            if let Err(error) = step.cancel(Cancel::AtOnce) {
                tracing::warn!(step = %step.id(), %error, "kill a step");
            }
        }
        let all = async {
            for step in &steps {
                // Closed: then nobody waits for it.
                let _ = step.wait().await;
            }
        };
        if tokio::time::timeout(LAST_KILL, all).await.is_err() {
            tracing::warn!("steps are left that do not end");
        }
    }

    /// Stops its tasks when it is dropped.
    pub(super) fn close_on_drop(&self) -> DropGuard {
        self.closing.clone().drop_guard()
    }

    /// Stops watching. The steps run on under their holders.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.host.close().await;
    }

    fn put(self: &Arc<Self>, call: Call, taken: impl FnOnce(&mut State)) -> Result<(), CallError> {
        let mut state = self.state.lock();
        let effects = state.rules.call(call, self.clock.now())?;
        taken(&mut state);
        self.carry_out(&mut state, effects)
            .map_err(CallError::NotDurable)
    }

    /// Tells the rules the time whenever they have something to do by then.
    async fn tick(engine: Arc<Self>) {
        let mut changed = engine.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let wake = engine.state.lock().rules.next_wake();
            let wait = wake.saturating_sub(engine.clock.now().up);
            tokio::select! {
                () = tokio::time::sleep(wait) => engine.event(Event::Tick),
                _ = changed.changed() => {}
            }
        }
    }
}

fn found_step(step: &RunningStep) -> FoundStep {
    let log_end = step.log_end();
    FoundStep {
        record: step.record().clone(),
        found: step.outcome().map_or(Found::Running, Found::Ended),
        log_end,
        acknowledged: step.log_begin().min(log_end),
    }
}
