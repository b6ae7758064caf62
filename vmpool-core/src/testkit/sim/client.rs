//! A build's client: asks for a stage, its steps and its end, and asks again
//! with the same ids whatever happens, as a Harness delegate does.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::asking::{Asking, Stop};
use super::fleet::{Fleet, Up};
use super::plan::{BuildPlan, StepEndPlan, StepPlan};
use super::world::World;
use crate::id::MachineId;
use crate::journal::Journal;
use crate::pool::{AcquireError, Lease, Origin};
use crate::provider::ErrorKind;
use crate::runner::{RunnerError, SetupRequest};
use crate::stage::MOST_MACHINES;
use crate::step::{StageSetup, Step, StepOutcome};

/// A stage lasts at most this long.
pub(super) const LASTS: Duration = Duration::from_mins(40);
/// A machine is prepared within this time, or given up.
const PREPARE: Duration = Duration::from_mins(2);
/// What an answer may take on top of its deadline: a slow journal, a slow agent.
const SLACK: Duration = Duration::from_secs(40);

/// After its journal was lost, a deployment knows its stages again within this time.
pub(super) const ADOPTION: Duration = Duration::from_mins(10);

/// And a runner waits for so long at most to hear of a stage that it does not know.
const SETTLED: Duration = Duration::from_mins(1);

/// How a build went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BuildEnd {
    /// All steps ended as they should.
    Done,
    /// It got no machine, and why.
    NoMachine(String),
    /// Its machine, and what it was told became of it.
    Told(Option<MachineId>, String),
    /// Its client went away.
    Vanished,
}

pub(super) struct Client {
    pub(super) world: Arc<World>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) build: BuildPlan,
}

impl Client {
    pub(super) async fn run(self) -> BuildEnd {
        tokio::time::sleep(self.build.at).await;
        for step in &self.build.steps {
            self.world.script(&step.id, step.script());
        }
        let slot = self.world.dice.below(self.fleet.size() as u64);
        let asking = Asking {
            slot: Cell::new(usize::try_from(slot).unwrap_or_default()),
            calls: Cell::new(0),
        };
        let end = self.play(&asking).await;
        self.world
            .trace
            .say(format_args!("{} ends: {end:?}", self.build.stage));
        end
    }

    async fn play(&self, asking: &Asking) -> BuildEnd {
        let lease = match self.set_up(asking).await {
            Ok(lease) => lease,
            Err(Stop::Vanish) => return BuildEnd::Vanished,
            Err(Stop::Told(error)) => {
                let told = super::fleet::chain(&error);
                if matches!(error, RunnerError::Acquire(AcquireError::Stopped { .. }))
                    && !told.contains(&ErrorKind::BadSpec.to_string())
                {
                    self.wrong(
                        "P3",
                        &format!("it is not told what the provider said: {told}"),
                    );
                }
                let waited = matches!(
                    error,
                    RunnerError::Acquire(
                        AcquireError::Deadline { .. }
                            | AcquireError::QueueFull { .. }
                            | AcquireError::Stopped { .. }
                    )
                );
                // Whatever it was told, it leaves nothing behind.
                if matches!(self.destroy(asking).await, Err(Stop::Vanish)) {
                    return BuildEnd::Vanished;
                }
                return if waited {
                    BuildEnd::NoMachine(told)
                } else {
                    BuildEnd::Told(self.machine().await, told)
                };
            }
        };
        let mut told = None;
        for step in &self.build.steps {
            match self.step(asking, step).await {
                Ok(outcome) if outcome.status == step.status() => {}
                Ok(outcome) => {
                    told = Some(format!("{} ended {:?}", step.id, outcome.status));
                    break;
                }
                Err(Stop::Vanish) => return BuildEnd::Vanished,
                Err(Stop::Told(error)) => {
                    told = Some(super::fleet::chain(&error));
                    break;
                }
            }
        }
        if matches!(self.destroy(asking).await, Err(Stop::Vanish)) {
            return BuildEnd::Vanished;
        }
        if self.build.manners.asks_again && told.is_none() && self.is_known_to_be_over().await {
            tokio::select! {
                biased;
                // Nobody knows any more what was over then.
                () = self.world.journal.lost() => {}
                () = self.ask_again(asking) => {}
            }
        }
        match told {
            Some(told) => BuildEnd::Told(Some(lease.machine_id().clone()), told),
            None => BuildEnd::Done,
        }
    }

    /// The journal has the stage's end. Only where it was lost with all that had
    /// ended before, it does not, and nobody can know: who asks for such a stage
    /// is given a machine as for a new one.
    async fn is_known_to_be_over(&self) -> bool {
        let record = self.world.journal.rows().stage(&self.build.stage).await;
        let known = record.ok().flatten().is_some();
        if !known && self.world.journal.lost_for().is_none() {
            self.wrong("P5", "the journal has forgotten it");
        }
        known
    }

    /// The machine that the journal has for the stage.
    async fn machine(&self) -> Option<MachineId> {
        let record = self.world.journal.rows().stage(&self.build.stage).await;
        record
            .ok()
            .flatten()
            .map(|record| record.stage.machine.clone())
    }

    fn request(&self) -> SetupRequest {
        SetupRequest {
            wait: Some(self.build.wait),
            lasts: Some(LASTS),
            ..SetupRequest::new(
                self.build.pool,
                self.build.stage.clone(),
                StageSetup::default(),
            )
        }
    }

    async fn set_up(&self, asking: &Asking) -> Result<Lease, Stop> {
        let tries = u32::try_from(MOST_MACHINES).unwrap_or(u32::MAX);
        let bound = self.build.wait + PREPARE * tries + SLACK;
        let call = async |up: Up| {
            let lease = up.runner.setup(self.request()).await?;
            let record = self.world.journal.rows().stage(&self.build.stage).await;
            let stage = record.ok().flatten().map(|record| record.stage);
            if stage.is_none_or(|stage| stage.machine != *lease.machine_id()) {
                self.wrong("P5", "a lease was answered that is not durable");
            }
            Ok(lease)
        };
        let lease = self.insist(asking, "setup", bound, true, call).await?;
        if let Origin::Waited(span) = lease.origin()
            && span > self.build.wait + Duration::from_secs(1)
        {
            let wanted = self.build.wait;
            self.wrong("P3", &format!("it waited {span:?}, and wanted {wanted:?}"));
        }
        let agent = self.world.link.agent(lease.machine_id());
        let serves = agent.rules().stage().map(|(stage, _)| stage.clone());
        if serves.as_ref() != Some(&self.build.stage) {
            self.wrong(
                "P5",
                "a lease was answered of a machine that is not prepared for it",
            );
        }
        Ok(lease)
    }

    async fn step(&self, asking: &Asking, plan: &StepPlan) -> Result<StepOutcome, Stop> {
        let patience = if self.build.manners.impatient {
            self.world
                .dice
                .span(Duration::from_secs(1), Duration::from_mins(1))
        } else {
            plan.takes + Duration::from_mins(3)
        };
        let stage = &self.build.stage;
        let run = async |up: Up| {
            let step = Step::shell(plan.id.clone(), "as its script says");
            let outcome = up.runner.step(stage, step).await?;
            let record = self.world.journal.rows().stage(stage).await;
            let steps = record.ok().flatten().map(|record| record.steps);
            let noted = steps.and_then(|steps| steps.into_iter().find(|step| step.id == plan.id));
            if noted.and_then(|noted| noted.outcome.clone()).as_ref() != Some(&outcome) {
                self.wrong("P5", "a step's result was answered that is not durable");
            }
            Ok(outcome)
        };
        let run = self.insist(asking, "step", patience, false, run);
        if plan.ends != StepEndPlan::IsCancelled {
            return run.await;
        }
        let cancel = async {
            tokio::time::sleep(plan.takes + Duration::from_secs(1)).await;
            // Again and again: the step may not have got through yet.
            loop {
                let cancel = async |up: Up| up.runner.cancel(stage, &plan.id).await;
                let bound = Duration::from_secs(30);
                let _ = self.insist(asking, "cancel", bound, false, cancel).await;
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        };
        tokio::select! {
            biased;
            ended = run => ended,
            () = cancel => Err(Stop::Vanish),
        }
    }

    /// What an answer may take that waits for nothing but the runner. One that was
    /// started on a lost journal first hears whose its machines are.
    fn slack(&self) -> Duration {
        let lost_for = self.world.journal.lost_for();
        let settles = lost_for.is_some_and(|span| span < ADOPTION);
        SLACK + if settles { SETTLED } else { Duration::ZERO }
    }

    async fn destroy(&self, asking: &Asking) -> Result<(), Stop> {
        let stage = &self.build.stage;
        let destroy = async |up: Up| {
            up.runner.destroy(stage).await?;
            let record = self.world.journal.rows().stage(stage).await;
            let stage = record.ok().flatten().map(|record| record.stage);
            if stage.is_some_and(|stage| !stage.state.is_ended()) {
                self.wrong("P5", "a release was answered that is not durable");
            }
            Ok(())
        };
        let destroyed = self
            .insist(asking, "destroy", self.slack(), true, destroy)
            .await;
        if let Err(Stop::Told(error)) = &destroyed {
            self.wrong("P9", &format!("it can't be destroyed: {error}"));
        }
        destroyed
    }

    /// All is over: the same calls give the same answers, and change nothing.
    async fn ask_again(&self, asking: &Asking) {
        if matches!(self.destroy(asking).await, Err(Stop::Vanish)) {
            return;
        }
        let stage = &self.build.stage;
        let again = async |up: Up| up.runner.setup(self.request()).await;
        match self
            .insist(asking, "setup again", self.slack(), true, again)
            .await
        {
            Ok(_) => self.wrong("P2", "a stage that is over got a machine again"),
            Err(
                Stop::Told(RunnerError::Acquire(AcquireError::StageOver { .. })) | Stop::Vanish,
            ) => {}
            Err(Stop::Told(error)) => {
                self.wrong("P9", &format!("a stage that is over is told: {error}"));
            }
        }
        for plan in &self.build.steps {
            let step = || Step::shell(plan.id.clone(), "as its script says");
            let again = async |up: Up| up.runner.step(stage, step()).await;
            match self
                .insist(asking, "step again", self.slack(), true, again)
                .await
            {
                Ok(outcome) if outcome.status == plan.status() => {}
                Ok(outcome) => {
                    let other = format!("{} ends again as {:?}", plan.id, outcome.status);
                    self.wrong("P9", &other);
                }
                Err(Stop::Told(error)) => {
                    self.wrong("P9", &format!("the result of {} is gone: {error}", plan.id));
                }
                Err(Stop::Vanish) => return,
            }
        }
    }

    pub(super) fn wrong(&self, promise: &str, what: &str) {
        let stage = &self.build.stage;
        self.world
            .trace
            .wrong(format_args!("{promise}: {stage}: {what}"));
    }
}
