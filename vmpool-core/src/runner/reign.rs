//! One pool for as long as it is ours: the pool itself, its stages and steps,
//! and the tasks that follow them.
//!
//! All of it ends together, when the pool becomes another's or is given up:
//! the tasks end, the machines and what runs on them stay as they are, and the
//! next owner goes on from the journal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RunnerError;
use super::measures::Measures;
use super::parts::{RunnerParts, Sharing};
use super::settling::Settling;
use super::stages::{Phase, StageEntry, StepEntry, Told};
use super::troubles::Troubles;
use crate::executor::ExecutorError;
use crate::id::{PoolName, StageId, Term};
use crate::journal::{JournalError, MachineRow, StageRecord};
use crate::link::Health;
use crate::machine::MachineState;
use crate::map::Map;
use crate::pool::{AttachError, Heard, Lease, Origin, Pool as _, PoolEvent, PoolEvents, WarmPool};
use crate::stage::{StageError, StageState};

/// What can't be done now is tried again this much later.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// A pool that is ours.
pub(super) struct Reign {
    pub(super) name: PoolName,
    pub(super) term: Term,
    pub(super) pool: WarmPool,
    pub(super) parts: Arc<RunnerParts>,
    pub(super) troubles: Arc<Troubles>,
    pub(super) may_write: watch::Receiver<bool>,
    /// Somebody was refused as if the pool were another's: look whether it is.
    pub(super) doubt: Arc<Notify>,
    /// The pool is not ours any more.
    pub(super) gone: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// Steps that the whole runner follows.
    pub(super) followed: Arc<AtomicUsize>,
    stages: Mutex<Map<StageId, Arc<StageEntry>>>,
    pub(super) settling: Settling,
    pub(super) measures: Measures,
}

impl fmt::Debug for Reign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reign")
            .field("name", &self.name)
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

/// What a reign is made of, beside its pool.
pub(super) struct Crown {
    pub(super) name: PoolName,
    pub(super) term: Term,
    pub(super) parts: Arc<RunnerParts>,
    pub(super) troubles: Arc<Troubles>,
    pub(super) may_write: watch::Receiver<bool>,
    pub(super) doubt: Arc<Notify>,
    pub(super) followed: Arc<AtomicUsize>,
    /// Cancelled with the runner, or before.
    pub(super) gone: CancellationToken,
}

impl Reign {
    pub(super) fn new(crown: Crown, pool: WarmPool) -> Arc<Self> {
        Arc::new(Self {
            measures: Measures::begin(&crown.name),
            name: crown.name,
            term: crown.term,
            pool,
            parts: crown.parts,
            troubles: crown.troubles,
            may_write: crown.may_write,
            doubt: crown.doubt,
            gone: crown.gone,
            tasks: TaskTracker::new(),
            followed: crown.followed,
            stages: Mutex::default(),
            settling: Settling::begin(),
        })
    }

    /// Runs `task` until it ends or the pool is not ours any more.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let gone = self.gone.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = gone.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Waits for `work`, but no longer than the pool is ours.
    pub(super) async fn ours<T>(
        &self,
        work: impl Future<Output = Result<T, RunnerError>>,
    ) -> Result<T, RunnerError> {
        let not_ours = || RunnerError::NotOurs {
            pool: self.name.clone(),
            holder: None,
        };
        let refused = tokio::select! {
            biased;
            () = self.gone.cancelled() => return Err(not_ours()),
            done = work => match done {
                Err(error) if error.may_be_a_take_over() => error,
                done => return done,
            },
        };
        let taken = match &refused {
            RunnerError::Stage(StageError::Executor(ExecutorError::Refused { .. })) => {
                self.obeys_another().await
            }
            _ => self.is_taken().await,
        };
        Err(if taken { not_ours() } else { refused })
    }

    /// As [`Reign::is_taken`], where an agent refused because of a higher term:
    /// while the lease could not be renewed, the agent knows better.
    pub(super) async fn obeys_another(&self) -> bool {
        self.is_taken().await || !*self.may_write.borrow()
    }

    /// A refusal may mean that the pool is another's by now. Waits until that
    /// would be known, unless [`Reign::ours`] ends the wait; false: it is ours.
    pub(super) async fn is_taken(&self) -> bool {
        let Sharing::Shared(times) = self.parts.sharing else {
            return false;
        };
        self.doubt.notify_one();
        let taken = self.gone.cancelled();
        tokio::time::timeout(times.renew_every, taken).await.is_ok()
    }

    pub(super) fn trouble(&self, text: impl Into<String>) {
        self.troubles.tell(Some(&self.name), text);
    }

    /// Waits until the machine of `lease` answers. It may never.
    pub(super) async fn connected(&self, lease: &Lease) {
        loop {
            let mut health = self.parts.link.health(lease.machine_id());
            if health.wait_for(Health::is_answering).await.is_ok() {
                return;
            }
            // The link has forgotten the machine, and may learn of it again.
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A stage that has its machine, asks for one, or still has steps to end.
    pub(super) fn stage(&self, id: &StageId) -> Option<Arc<StageEntry>> {
        self.stages.lock().get(id).cloned()
    }

    /// The stage, made where there is none.
    pub(super) fn stage_or(
        &self,
        id: &StageId,
        make: impl FnOnce() -> Arc<StageEntry>,
    ) -> Arc<StageEntry> {
        let mut stages = self.stages.lock();
        stages.entry(id.clone()).or_insert_with(make).clone()
    }

    /// As [`Reign::stage_or`], for one more who asks for its machine.
    pub(super) fn stage_asked(
        &self,
        id: &StageId,
        make: impl FnOnce() -> Arc<StageEntry>,
    ) -> Arc<StageEntry> {
        let mut stages = self.stages.lock();
        let entry = stages.entry(id.clone()).or_insert_with(make);
        *entry.asking.lock() += 1;
        entry.clone()
    }

    /// Forgets a stage that the journal alone has to know.
    pub(super) fn forget(&self, entry: &Arc<StageEntry>) {
        self.forget_if(entry, || true);
    }

    /// Forgets `entry`, if `unwanted` says so while nobody else can find it.
    pub(super) fn forget_if(&self, entry: &Arc<StageEntry>, unwanted: impl FnOnce() -> bool) {
        let mut stages = self.stages.lock();
        let here = stages.get(&entry.id);
        if here.is_some_and(|here| Arc::ptr_eq(here, entry)) && unwanted() {
            stages.remove(&entry.id);
        }
    }

    /// Goes on with what the journal has of the pool: every step that was sent
    /// and has not ended is followed by its id, though nobody asks for it, and
    /// though its stage may be over.
    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), JournalError> {
        let rows = self.parts.journal.pool(&self.name).await?;
        let mut machines = Map::default();
        for row in rows.machines {
            machines.insert(row.id().clone(), row);
        }
        let mut going_on = Vec::with_capacity(rows.stages.len());
        for record in rows.stages {
            let machine = machines.remove(&record.stage.machine);
            if !record.stage.state.is_ended() {
                going_on.push(record.stage.id.clone());
            }
            if record.stage.state != StageState::Waiting {
                self.take_in(record, machine.as_deref());
            }
        }
        if !going_on.is_empty() {
            let reign = self.clone();
            self.spawn(async move { reign.tell_who_goes_on(going_on).await });
        }
        Ok(())
    }

    /// A stage of this pool as the journal has it, taken in with its steps.
    pub(super) fn take_in(
        self: &Arc<Self>,
        record: StageRecord,
        machine: Option<&MachineRow>,
    ) -> Arc<StageEntry> {
        let row = record.stage;
        let phase = match (&row.state, machine.map(|machine| machine.state)) {
            (StageState::Ended(end), Some(MachineState::Draining | MachineState::Held)) => {
                Phase::Ending(end.to_string().into())
            }
            (StageState::Ended(end), _) => Phase::Over(end.to_string().into()),
            _ => Phase::Open,
        };
        let over = matches!(phase, Phase::Over(_));
        let lease = machine.map(|machine| Lease {
            stage: row.id.clone(),
            machine: machine.machine.clone(),
            term: self.term,
            claimed_at: row.claimed_at,
            deadline: row.deadline,
            origin: Origin::Attached,
        });
        let entry = self.stage_or(&row.id, || StageEntry::new(row.id.clone(), lease, phase));
        for step in record.steps {
            let found = StepEntry::new(step.id.clone(), step.hash, None);
            found.now_sent();
            let ended = step.outcome.clone();
            let runs = ended.is_none();
            if let Some(outcome) = ended {
                found.tell(Told::Ended(outcome));
            }
            if entry.found(&found) && runs {
                self.follow(&entry, found);
            }
        }
        if over && !entry.is_followed() {
            self.forget(&entry);
        }
        entry
    }

    /// Reads a stage in that the runner does not have in memory.
    pub(super) async fn read_in(self: &Arc<Self>, id: &StageId) -> Result<(), JournalError> {
        let journal = &self.parts.journal;
        if let Some(record) = journal.stage(id).await?
            && record.stage.pool == self.name
            // What has no machine is taken in by who asks for one.
            && record.stage.state != StageState::Waiting
        {
            let machine = record.stage.machine.clone();
            let row = journal.machine(&machine).await?;
            let entry = self.take_in(record, row.as_deref());
            // The answers may be old: what was told since they were given found
            // nobody here.
            if let Some(state) = self.pool.leaving(&machine) {
                self.machine_is(state, &entry.id, "the stage has ended");
            }
        }
        Ok(())
    }

    /// Hears what happens in the pool, for as long as it is there.
    pub(super) async fn listen(self: &Arc<Self>, mut events: PoolEvents, changed: impl Fn()) {
        while let Some(heard) = events.next().await {
            changed();
            match heard {
                Heard::Event(PoolEvent::Machine {
                    state,
                    stage: Some(stage),
                    cause,
                    ..
                }) => self.machine_is(state, &stage, &cause),
                Heard::Event(_) => {}
                Heard::Missed(_) => self.look_at_all().await,
            }
        }
    }

    fn machine_is(self: &Arc<Self>, state: MachineState, stage: &StageId, cause: &str) {
        use MachineState::{Claimed, Draining, Gone, Held, Lost, Terminating};
        let known = self.stage(stage);
        match (state, known) {
            (Draining | Held, Some(entry)) => entry.end(cause),
            (Terminating | Gone | Lost, Some(entry)) => {
                entry.over(cause);
                self.forget_if(&entry, || !entry.is_followed());
            }
            // Found on its machine, or claimed for somebody who did not wait for it.
            (Claimed, None) => {
                let (reign, stage) = (self.clone(), stage.clone());
                self.spawn(async move {
                    while let Err(error) = reign.read_in(&stage).await {
                        reign.trouble(error.to_string());
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
            _ => {}
        }
    }

    /// Some events were not heard: what they said is read from the pool.
    async fn look_at_all(self: &Arc<Self>) {
        let status = self.pool.status();
        let mut machines: Map<StageId, MachineState> = Map::default();
        for machine in status.machines {
            if let Some(stage) = machine.stage {
                machines.insert(stage, machine.state);
            }
        }
        for (stage, state) in &machines {
            self.machine_is(*state, stage, "the stage has ended");
        }
        let all: Vec<_> = self.stages.lock().values().cloned().collect();
        for entry in all {
            // One without a lease waits for its machine.
            if entry.has_machine() && !machines.contains_key(&entry.id) {
                let ended = self.pool.attach(&entry.id).await;
                if let Err(AttachError::Over { reason, .. }) = ended {
                    entry.over(&reason);
                    self.forget_if(&entry, || !entry.is_followed());
                }
            }
        }
    }
}
