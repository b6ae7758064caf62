//! What outlives every runner: the cloud, the agents, the journal's rows, the
//! logs; and what is held against the promises while it happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::cloud::Cloud;
use super::dice::Dice;
use super::journal::{Durable, shown};
use super::life::Life;
use super::logs::Logs;
use super::trace::Trace;
use super::weather::Weather;
use crate::agent::Clocks;
use crate::clock::{Clock, Timestamp};
use crate::id::{StepId, Term};
use crate::journal::{Batch, MachineRow, Row};
use crate::machine::MachineState;
use crate::testkit::{SimLink, SimStep};

/// Every history begins at this moment.
const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);
/// The world moves by itself so often.
const TICK: Duration = Duration::from_secs(5);
/// A claim is written down, and heard of, within this time.
const WRITTEN: Duration = Duration::from_millis(12);
/// A runner may not know for so long that a machine is dead.
const NEWS_TRAVEL: Duration = Duration::from_secs(1);

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) dice: Arc<Dice>,
    pub(super) trace: Arc<Trace>,
    /// The agents; each life of a runner has a line of its own beside this one.
    pub(super) link: Arc<SimLink>,
    pub(super) cloud: Cloud,
    pub(super) journal: Durable,
    pub(super) logs: Logs,
    weather: Mutex<Weather>,
    /// The connections of the next machine that is claimed break meanwhile.
    breaks_at_claim: AtomicBool,
    scripts: Arc<Mutex<BTreeMap<StepId, SimStep>>>,
    tasks: TaskTracker,
}

impl World {
    pub(super) fn new(seed: u64, clocks: Clocks, keep_all: bool) -> Arc<Self> {
        let clock = Clock::showing(BEGINNING);
        let dice = Arc::new(Dice::new(seed));
        let trace = Arc::new(Trace::new(keep_all));
        let link = SimLink::with_clocks(clock, clocks);
        let scripts: Arc<Mutex<BTreeMap<StepId, SimStep>>> = Arc::default();
        let known = scripts.clone();
        link.script(move |step| {
            let script = known.lock().get(&step.id).cloned();
            script.unwrap_or_else(|| SimStep::exits(0))
        });
        let world = Arc::new(Self {
            clock,
            cloud: Cloud::new(clock, link.clone(), trace.clone(), dice.clone()),
            dice,
            trace,
            link,
            journal: Durable::default(),
            logs: Logs::default(),
            weather: Mutex::default(),
            breaks_at_claim: AtomicBool::new(false),
            scripts,
            tasks: TaskTracker::new(),
        });
        let ticking = Arc::downgrade(&world);
        world.spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(world) = ticking.upgrade() else {
                    return;
                };
                world.cloud.tick();
            }
        });
        world
    }

    /// Runs `task` until the history's runtime ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(super) fn weather(&self) -> Weather {
        *self.weather.lock()
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        *self.weather.lock() = weather;
    }

    /// The connections of the next machine that is claimed break while that is
    /// written down.
    pub(super) fn break_at_claim(&self) {
        self.breaks_at_claim.store(true, Ordering::Relaxed);
    }

    /// A batch is on its way to the journal.
    pub(super) fn breaks_at_claim(self: &Arc<Self>, batch: &Batch) {
        let Some(row) = claimed(batch).next() else {
            return;
        };
        if self.breaks_at_claim.swap(false, Ordering::Relaxed) {
            let (world, id) = (self.clone(), row.id().clone());
            let at = self.dice.span(Duration::ZERO, WRITTEN);
            self.spawn(async move {
                tokio::time::sleep(at).await;
                world.link.lose(&id, "connection reset");
            });
        }
    }

    /// What a step does, wherever it is run.
    pub(super) fn script(&self, step: &StepId, script: SimStep) {
        self.scripts.lock().insert(step.clone(), script);
    }

    /// Holds a claim that is submitted against P6: its machine is there.
    pub(super) fn check_submitted(&self, life: &Life, batch: &Batch) {
        for row in claimed(batch) {
            let (id, runner) = (row.id(), life.name());
            let dead_for = self.cloud.dead_for(id);
            if dead_for.is_some_and(|span| span > NEWS_TRAVEL) && !life.was_stopped() {
                self.trace.wrong(format_args!(
                    "P6: {runner} hands {id} out, which is dead for {dead_for:?}"
                ));
            }
            let noticed_for = self.cloud.noticed_for(id);
            // What a lost journal knew is taken back with the stage that runs there.
            let is_adopted = self.link.agent(id).rules().stage().is_some();
            if noticed_for.is_some_and(|span| span > NEWS_TRAVEL)
                && !is_adopted
                && !life.was_stopped()
            {
                self.trace.wrong(format_args!(
                    "P6: {runner} hands {id} out, which is known for {noticed_for:?} to end"
                ));
            }
        }
    }

    /// Holds what is durable against P2: it was written by the one who rules the
    /// pool under the term `ruling`, and a machine that it claims has served no other.
    pub(super) fn check_durable(&self, batch: &Batch, ruling: Option<Term>) {
        if let Some(ruling) = ruling.filter(|ruling| *ruling > batch.term) {
            let (what, term) = (shown(batch), batch.term);
            self.trace.wrong(format_args!(
                "P2: {what} is written under term {term}, and term {ruling} rules"
            ));
        }
        for row in claimed(batch) {
            let agent = self.link.agent(row.id());
            if let Some((served, _)) = agent.rules().stage()
                && row.stage.as_ref() != Some(served)
            {
                let (id, stage) = (row.id(), &row.stage);
                self.trace.wrong(format_args!(
                    "P2: {id} is given to {stage:?}, it has served {served}"
                ));
            }
        }
    }
}

/// The machines that a batch gives to stages.
fn claimed(batch: &Batch) -> impl Iterator<Item = &MachineRow> {
    batch.changes.iter().filter_map(|change| match &change.row {
        Row::Machine(row) if row.state == MachineState::Claimed && change.what == "claimed" => {
            Some(&**row)
        }
        _ => None,
    })
}
