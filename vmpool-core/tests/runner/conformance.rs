//! The runner keeps what every API must keep.

use std::time::Duration;

use async_trait::async_trait;
use vmpool_core::pool::{AcquireError, AttachError, Progress};
use vmpool_core::runner::{RunnerError, SetupRequest};
use vmpool_core::stage::StageError;
use vmpool_core::testkit::builds::{Acquire, Builds, Does, Ended, LIMIT, POOL, Refusal, cases};
use vmpool_core::testkit::{SimStep, eventually};
use vmpool_core::{ExecutorError, StageSetup, Step, StepOutcome};

use crate::harness::{At, World};

#[tokio::test(start_paused = true)]
async fn p9_the_runner_conforms() {
    let world = World::new(0, LIMIT);
    world.agents.script(|step| {
        let does = Does::ALL
            .into_iter()
            .find(|does| does.command() == step.command);
        let second = Duration::from_secs(1);
        match does.expect("it is a step of the suite") {
            Does::Print => SimStep::exits(0)
                .prints("one\n")
                .prints_after(second, "two\n")
                .takes(second),
            Does::Fail => SimStep::exits(3).prints("one\n"),
            Does::Hang => SimStep::hangs().prints("one\n"),
        }
    });
    let at = world.runner().await;
    cases::all(&InProcess {
        world: &world,
        at: &at,
    })
    .await;
    world.end(at).await;
}

struct InProcess<'a> {
    world: &'a World,
    at: &'a At,
}

impl InProcess<'_> {
    fn ended(&self, stage: &str, step: &str, from: u64, outcome: StepOutcome) -> Ended {
        let text = self.world.text(stage, step);
        assert_eq!(outcome.log_end, text.len() as u64);
        let from = usize::try_from(from).expect("it is small");
        Ended {
            status: outcome.status,
            output: text[from..].to_owned(),
        }
    }
}

#[async_trait(?Send)]
impl Builds for InProcess<'_> {
    async fn acquire(&self, asked: Acquire) -> Result<String, Refusal> {
        let mut setup = StageSetup::default();
        setup.env.insert("VARIABLE".to_owned(), asked.variable);
        let request = SetupRequest {
            wait: asked.wait.map(Duration::from_secs),
            ..SetupRequest::new(asked.pool, asked.stage, setup)
        };
        let lease = self.at.runner.setup(request).await;
        Ok(lease.map_err(refusal)?.machine_id().to_string())
    }

    async fn release(&self, stage: &str) -> Result<(), Refusal> {
        let released = self.at.runner.destroy(&stage.into()).await;
        released.map_err(refusal)
    }

    async fn run(&self, stage: &str, step: &str, does: Does, from: u64) -> Result<Ended, Refusal> {
        let outcome = self
            .at
            .runner
            .step(&stage.into(), step_of(step, does))
            .await;
        let outcome = outcome.map_err(refusal)?;
        Ok(self.ended(stage, step, from, outcome))
    }

    async fn attach(&self, stage: &str, step: &str, from: u64) -> Result<Ended, Refusal> {
        let outcome = self
            .at
            .runner
            .attach_step(&stage.into(), &step.into())
            .await;
        let outcome = outcome.map_err(refusal)?;
        Ok(self.ended(stage, step, from, outcome))
    }

    async fn run_and_leave(&self, stage: &str, step: &str, does: Does, bytes: usize) -> String {
        let id = stage.into();
        let text = || self.world.text(stage, step);
        tokio::select! {
            biased;
            ended = self.at.runner.step(&id, step_of(step, does)) => panic!("{ended:?}"),
            () = eventually(text, || text().len() >= bytes) => {}
        }
        text()
    }

    async fn cancel(&self, stage: &str, step: &str) -> Result<(), Refusal> {
        let cancelled = self.at.runner.cancel(&stage.into(), &step.into()).await;
        cancelled.map_err(refusal)
    }

    async fn waits(&self, stage: &str) {
        let (pool, stage) = (POOL.into(), stage.into());
        let progress = || self.at.runner.progress(&pool, &stage);
        let show = || format!("{:?}", progress());
        let waits = || matches!(progress(), Ok(Progress::Waiting { .. }));
        eventually(show, waits).await;
    }
}

fn step_of(id: &str, does: Does) -> Step {
    Step {
        command: does.command(),
        ..Step::shell(id, "")
    }
}

fn refusal(error: RunnerError) -> Refusal {
    match error {
        RunnerError::Acquire(AcquireError::Conflict { .. })
        | RunnerError::Stage(StageError::Executor(ExecutorError::Conflict { .. })) => {
            Refusal::Conflict
        }
        RunnerError::UnknownPool { .. } => Refusal::UnknownPool,
        RunnerError::UnknownStage { .. } | RunnerError::Attach(AttachError::Unknown { .. }) => {
            Refusal::UnknownStage
        }
        RunnerError::UnknownStep { .. } => Refusal::UnknownStep,
        RunnerError::Acquire(AcquireError::StageOver { .. })
        | RunnerError::Attach(AttachError::Over { .. }) => Refusal::StageOver,
        RunnerError::Acquire(AcquireError::Deadline { .. }) => Refusal::NoMachineInTime,
        error => Refusal::Other(error.to_string()),
    }
}
