//! A deployment: a cloud, its agents, a journal, logs, and runners on them.

use std::sync::Arc;
use std::time::Duration;

use vmpool_core::account::Account;
use vmpool_core::journal::{Holder, MemoryJournal, StageRecord};
use vmpool_core::pool::PoolStatus;
use vmpool_core::runner::{
    LeaseTimes, PoolOwner, PoolSource, Runner, RunnerError, RunnerParts, SetupRequest, Sharing,
};
use vmpool_core::testkit::{FakeProvider, MemoryLogs, SimExecutor, SimLink, SimStep, eventually};
use vmpool_core::{
    Clock, Journal, Lease, PoolConfig, RunnerId, StageId, StageSetup, Step, StepExecutor,
    StepOutcome, StepStatus,
};

use crate::gate::Gate;
use crate::stuck::{Stuck, Trap};

/// What outlives the runners.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) provider: Arc<FakeProvider>,
    pub(crate) agents: Arc<SimLink>,
    pub(crate) rows: Arc<MemoryJournal>,
    pub(crate) logs: MemoryLogs,
    pub(crate) config: PoolConfig,
}

/// A runner and its own way to the journal.
#[derive(Clone)]
pub(crate) struct At {
    pub(crate) runner: Runner,
    pub(crate) gate: Arc<Gate>,
}

/// The pool of all tests but those of several.
pub(crate) const POOL: &str = "linux";

impl World {
    /// A deployment whose steps print two lines a second apart, or what their
    /// ids ask for.
    pub(crate) fn new(warm: u32, limit: u32) -> Self {
        let clock = Clock::system();
        let agents = SimLink::new(clock);
        agents.script(|step| {
            let seconds = Duration::from_secs;
            match step.id.as_str() {
                "hangs" => SimStep::hangs().prints("begun\n"),
                "fails" => SimStep::exits(3),
                "quiet" => SimStep::exits(0).takes(seconds(20)),
                _ => SimStep::exits(0)
                    .prints("one\n")
                    .prints_after(seconds(10), "two\n")
                    .takes(seconds(20)),
            }
        });
        Self {
            clock,
            provider: FakeProvider::new(clock),
            agents,
            rows: Arc::new(MemoryJournal::new()),
            logs: MemoryLogs::new(),
            config: PoolConfig::new(POOL, warm, limit),
        }
    }

    /// A runner that has the journal for itself.
    pub(crate) async fn runner(&self) -> At {
        self.runner_with("alone", Sharing::Alone, None).await
    }

    /// One of several.
    pub(crate) async fn shared(&self, name: &str) -> At {
        self.runner_with(name, Sharing::Shared(LeaseTimes::default()), None)
            .await
    }

    pub(crate) async fn runner_with(&self, name: &str, sharing: Sharing, trap: Option<Trap>) -> At {
        let link = self.agents.beside();
        let executor = SimExecutor::new(&link);
        let executor: Arc<dyn StepExecutor> = match trap {
            Some(trap) => Stuck::at(trap, executor),
            None => executor,
        };
        let gate = Gate::new(&self.rows);
        let parts = RunnerParts {
            journal: gate.clone(),
            link,
            executor,
            logs: Arc::new(self.logs.clone()),
            clock: self.clock,
            holder: holder(name),
            sharing,
        };
        let started = Runner::start(parts, vec![self.source()]).await;
        let runner = started.expect("the runner starts");
        At { runner, gate }
    }

    pub(crate) fn source(&self) -> PoolSource {
        PoolSource {
            config: self.config.clone(),
            provider: self.provider.clone(),
            account: Account::default(),
        }
    }

    pub(crate) async fn record(&self, stage: &str) -> StageRecord {
        let record = self.rows.stage(&stage.into()).await;
        record.expect("it is in memory").expect("it is known")
    }

    /// The step's end as it is written down.
    pub(crate) async fn recorded(&self, stage: &str, step: &str) -> Option<StepOutcome> {
        let steps = self.record(stage).await.steps;
        let row = steps.into_iter().find(|row| row.id.as_str() == step);
        row.expect("the step was sent").outcome.clone()
    }

    pub(crate) fn text(&self, stage: &str, step: &str) -> String {
        self.logs.text(&stage.into(), &step.into())
    }

    /// How often the step was started on the stage's machine.
    pub(crate) async fn starts(&self, stage: &str, step: &str) -> u32 {
        let machine = self.record(stage).await.stage.machine.clone();
        let agent = self.agents.agent(&machine);
        agent.starts().get(step).copied().unwrap_or(0)
    }

    /// Ends everything, and checks that nothing is left (P1) and that no log
    /// was ever to be written twice or with a hole (P4).
    pub(crate) async fn end(&self, at: At) {
        let left = at.runner.shutdown(Duration::from_secs(600)).await;
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.provider.alive(), []);
        assert!(
            self.logs.misplaced().is_empty(),
            "{:?}",
            self.logs.misplaced()
        );
    }
}

impl At {
    pub(crate) async fn try_setup(&self, stage: &str) -> Result<Lease, RunnerError> {
        self.runner.setup(request(stage)).await
    }

    pub(crate) async fn setup(&self, stage: &str) -> Lease {
        self.try_setup(stage).await.expect("a machine comes")
    }

    pub(crate) async fn try_step(
        &self,
        stage: &str,
        step: &str,
    ) -> Result<StepOutcome, RunnerError> {
        self.runner.step(&stage.into(), make(step)).await
    }

    pub(crate) async fn step(&self, stage: &str, step: &str) -> StepOutcome {
        self.try_step(stage, step).await.expect("it ends")
    }

    /// A step of the same id with another content.
    pub(crate) async fn other_step(&self, stage: &str, step: &str) -> RunnerError {
        let other = Step::shell(step, "rm -r /");
        let given = self.runner.step(&stage.into(), other).await;
        given.expect_err("it differs")
    }

    pub(crate) async fn cancel(&self, stage: &str, step: &str) {
        let cancelled = self.runner.cancel(&stage.into(), &step.into()).await;
        cancelled.expect("the agent is there");
    }

    /// Begins a step that nobody waits for.
    pub(crate) async fn begin(&self, world: &World, stage: &str, step: &str) {
        let begun = self.try_step(stage, step);
        let waited = tokio::time::timeout(Duration::from_secs(1), begun).await;
        assert!(waited.is_err(), "it runs for a while");
        assert_eq!(world.starts(stage, step).await, 1);
    }

    pub(crate) async fn destroy(&self, stage: &str) {
        let destroyed = self.runner.destroy(&stage.into()).await;
        destroyed.expect("the journal takes it");
    }

    pub(crate) fn owner(&self) -> PoolOwner {
        self.runner.owner(&POOL.into())
    }

    pub(crate) async fn owns(&self) {
        let show = || format!("it is {:?}", self.owner());
        eventually(show, || self.owner() == PoolOwner::Ours).await;
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let mut all = self.runner.status();
        all.remove(0).status.expect("the pool is ours")
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&PoolStatus) -> bool) {
        let show = || format!("{what}: {:?}", self.runner.status());
        eventually(show, || {
            let standing = self.runner.status().remove(0);
            standing.status.as_ref().is_some_and(&holds)
        })
        .await;
    }
}

pub(crate) fn holder(name: &str) -> Holder {
    Holder {
        runner: RunnerId::new(name),
        url: format!("https://{name}").into(),
    }
}

pub(crate) fn request(stage: &str) -> SetupRequest {
    let mut setup = StageSetup::default();
    setup.env.insert("STAGE".into(), stage.into());
    SetupRequest::new(POOL, stage, setup)
}

pub(crate) fn make(step: &str) -> Step {
    Step::shell(step, "make")
}

pub(crate) fn exited(code: i32) -> StepStatus {
    StepStatus::Exited { code }
}

pub(crate) fn stage(id: &str) -> StageId {
    StageId::new(id)
}

/// Waits until nothing of the stage is left to do.
pub(crate) async fn gone(world: &World, lease: &Lease) {
    let id = lease.machine_id();
    let show = || format!("machine {id} is alive");
    eventually(show, || !world.provider.alive().contains(id)).await;
}
