//! Run steps in a way of your own: here each is a child process of this program,
//! with no agent at all. The pool's machines are simulated.
//!
//! What such an executor can't keep it says in `guarantees`.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::PoolParts;
use vmpool_core::testkit::{Collected, FakeProvider, SimLink};
use vmpool_core::{
    AcquireRequest, Clock, ExecutorError, Guarantees, Lease, LogSink, PoolConfig, Stage,
    StageSetup, Step, StepExecutor, StepId, StepOutcome, StepStatus, WarmPool,
};

/// Runs steps as children of this process, one result a step.
#[derive(Debug)]
struct Children {
    clock: Clock,
    done: Mutex<HashMap<StepId, StepOutcome>>,
}

#[async_trait]
impl StepExecutor for Children {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            fences: false,
            resumes_logs: false,
            leaves_nothing: false,
            hides_secrets: false,
            mutual_tls: false,
            dead_man: false,
        }
    }

    async fn prepare(&self, _: &Lease, _: &StageSetup) -> Result<(), ExecutorError> {
        Ok(())
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        // A step that ran is not run again (P9).
        if let Some(outcome) = self.results().get(&step.id) {
            return Ok(outcome.clone());
        }
        let failed = |error: std::io::Error| ExecutorError::Failed {
            stage: lease.stage().clone(),
            attempted: format!("run step {}", step.id),
            reason: error.to_string(),
        };
        let [program, args @ ..] = step.command.as_slice() else {
            let (field, reason) = ("command".to_owned(), "it is empty".to_owned());
            return Err(ExecutorError::Invalid { field, reason });
        };
        let started_at = self.clock.now();
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(&step.env)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.map_err(failed)?;
        let kept = |source| ExecutorError::Log {
            step: step.id.clone(),
            source,
        };
        let at = log.position(&step.id);
        let log_end = log
            .write(&step.id, at, &output.stdout)
            .await
            .map_err(kept)?;
        let status = match output.status.code() {
            Some(code) => StepStatus::Exited { code },
            None => StepStatus::Lost {
                reason: output.status.to_string(),
            },
        };
        let outcome = StepOutcome {
            status,
            started_at,
            ended_at: self.clock.now(),
            log_end,
        };
        self.results().insert(step.id.clone(), outcome.clone());
        Ok(outcome)
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        _: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let known = self.results().get(step).cloned();
        known.ok_or_else(|| ExecutorError::UnknownStep {
            machine: lease.machine_id().clone(),
            step: step.clone(),
        })
    }

    async fn cancel(&self, _: &Lease, _: &StepId) -> Result<(), ExecutorError> {
        Ok(())
    }

    async fn cleanup(&self, _: &Lease) -> Result<(), ExecutorError> {
        Ok(())
    }
}

impl Children {
    fn results(&self) -> std::sync::MutexGuard<'_, HashMap<StepId, StepOutcome>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    let parts = PoolParts::new(
        FakeProvider::new(clock),
        SimLink::new(clock),
        Arc::new(MemoryJournal::new()),
        clock,
    );
    let pool = WarmPool::start(PoolConfig::new("simulated", 1, 1), parts).await?;
    let executor = Arc::new(Children {
        clock,
        done: Mutex::default(),
    });

    let lease = pool.acquire(AcquireRequest::new("build-1")).await?;
    let stage = Stage::new(lease, Arc::new(pool.clone()), executor);
    let stage = stage.init(&StageSetup::default()).await?;
    let mut log = Collected::default();
    let step = Step::shell("greet", "echo hello from a child");
    let first = stage.execute(&step, &mut log).await?;
    let again = stage.execute(&step, &mut log).await?;
    anyhow::ensure!(first == again, "a step runs once");
    print!("{}", log.text());
    stage.cleanup().await?;
    pool.shutdown(Duration::from_secs(60)).await;
    Ok(())
}
