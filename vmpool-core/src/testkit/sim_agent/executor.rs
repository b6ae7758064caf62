//! Runs steps on simulated agents.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::hash::hash;
use super::machine::CallError;
use super::{SimLink, SimStep};
use crate::agent::{Call, Content, Digest, Refusal, RefusalKind, StagePhase};
use crate::executor::{ExecutorError, Guarantees, LogSink, StepExecutor};
use crate::id::StepId;
use crate::pool::Lease;
use crate::step::{StageSetup, Step, StepOutcome};

/// Runs steps on the agents of a [`SimLink`]; what they do, its
/// [script](SimLink::script) says. Waits out broken connections, and fails once
/// the machine is dead or its connection was closed.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use vmpool_core::{AcquireRequest, Clock, Pool, PoolConfig, Stage, StageSetup, Step, WarmPool};
/// # use vmpool_core::journal::MemoryJournal;
/// # use vmpool_core::pool::PoolParts;
/// # use vmpool_core::testkit::{Collected, FakeProvider, SimExecutor, SimLink, SimStep};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = Clock::system();
/// let link = SimLink::new(clock);
/// link.script(|step| match step.id.as_str() {
///     "build" => SimStep::exits(0).prints("built\n").takes(Duration::from_mins(1)),
///     _ => SimStep::exits(1),
/// });
/// let executor = SimExecutor::new(&link);
/// let provider = FakeProvider::new(clock);
/// let journal = Arc::new(MemoryJournal::new());
/// let parts = PoolParts::new(provider, link, journal, clock);
/// let pool = Arc::new(WarmPool::start(PoolConfig::new("linux", 1, 2), parts).await?);
///
/// let lease = pool.acquire(AcquireRequest::new("stage-1")).await?;
/// let stage = Stage::new(lease, pool.clone(), executor);
/// let stage = stage.init(&StageSetup::default()).await?;
/// let mut log = Collected::default();
/// let outcome = stage.execute(&Step::shell("build", "make"), &mut log).await?;
/// assert!(outcome.status.is_success());
/// assert_eq!(log.text(), "built\n");
/// stage.cleanup().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SimExecutor {
    link: Arc<SimLink>,
}

impl SimExecutor {
    /// An executor on the agents of `link`.
    pub fn new(link: &Arc<SimLink>) -> Arc<Self> {
        Arc::new(Self { link: link.clone() })
    }

    async fn call(
        &self,
        lease: &Lease,
        attempted: &str,
        call: Call,
        script: &SimStep,
    ) -> Result<(), ExecutorError> {
        let id = lease.machine_id();
        self.link.reach(id).await.map_err(|why| lost(lease, why))?;
        self.link
            .call(id, call, script)
            .map_err(|error| match error {
                CallError::Gone(why) => lost(lease, why),
                CallError::Refused(refusal) => refused(lease, attempted, &refusal),
            })
    }

    async fn follow(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let (id, stage) = (lease.machine_id(), lease.stage());
        let attempted = format!("run step {step}");
        let touched = self.link.touched(id);
        loop {
            self.link.reach(id).await.map_err(|why| lost(lease, why))?;
            let mut changed = pin!(touched.notified());
            changed.as_mut().enable();
            let position = log.position(step);
            let look = self.link.look(id, |agent| {
                let (offset, bytes) = agent.log(step, position);
                let entry = agent.rules().attach(stage, step);
                let outcome = entry.map(|entry| entry.outcome().cloned());
                (offset, bytes.to_vec(), outcome)
            });
            let ((offset, bytes, outcome), wake) = look.map_err(|why| lost(lease, why))?;
            let outcome = outcome.map_err(|refusal| match refusal {
                Refusal::UnknownStep { .. } => ExecutorError::UnknownStep {
                    machine: id.clone(),
                    step: step.clone(),
                },
                refusal => refused(lease, &attempted, &refusal),
            })?;
            if !bytes.is_empty() {
                let kept = log.write(step, offset, &bytes).await;
                let kept = kept.map_err(|source| ExecutorError::Log {
                    step: step.clone(),
                    source,
                })?;
                let acknowledge = Call::Acknowledge {
                    term: lease.term(),
                    stage: stage.clone(),
                    step: step.clone(),
                    offset: kept,
                };
                self.call(lease, &attempted, acknowledge, &SimStep::exits(0))
                    .await?;
            } else if let Some(outcome) = outcome {
                return Ok(outcome);
            } else {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(wake) => {}
                    () = changed => {}
                }
            }
        }
    }
}

#[async_trait]
impl StepExecutor for SimExecutor {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            fences: true,
            resumes_logs: true,
            leaves_nothing: true,
            hides_secrets: true,
            mutual_tls: true,
            dead_man: true,
        }
    }

    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        let call = Call::Prepare {
            term: lease.term(),
            stage: lease.stage().clone(),
            lasts: lease.deadline().since(self.link.clock().now()),
            content: content_of_setup(setup),
        };
        let attempted = format!("prepare stage {}", lease.stage());
        self.call(lease, &attempted, call, &SimStep::exits(0))
            .await?;
        let phase = self
            .link
            .look(lease.machine_id(), |agent| {
                agent.rules().stage().map(|(_, phase)| phase.clone())
            })
            .map_err(|why| lost(lease, why))?;
        if matches!(phase, (Some(StagePhase::Prepared), _)) {
            return Ok(());
        }
        let stage = lease.stage().clone();
        Err(refused(lease, &attempted, &Refusal::StageEnded { stage }))
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let start = Call::Start {
            term: lease.term(),
            stage: lease.stage().clone(),
            step: step.id.clone(),
            content: content_of_step(step),
        };
        let attempted = format!("run step {}", step.id);
        self.call(lease, &attempted, start, &self.link.script_of(step))
            .await?;
        self.follow(lease, &step.id, log).await
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        self.follow(lease, step, log).await
    }

    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError> {
        let call = Call::Cancel {
            term: lease.term(),
            stage: lease.stage().clone(),
            step: step.clone(),
        };
        self.call(
            lease,
            &format!("cancel step {step}"),
            call,
            &SimStep::exits(0),
        )
        .await
    }

    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError> {
        let stage = lease.stage().clone();
        let attempted = format!("clean up stage {stage}");
        let call = Call::Cleanup {
            term: lease.term(),
            stage,
        };
        self.call(lease, &attempted, call, &SimStep::exits(0)).await
    }
}

fn lost(lease: &Lease, reason: String) -> ExecutorError {
    ExecutorError::MachineLost {
        machine: lease.machine_id().clone(),
        reason,
    }
}

fn refused(lease: &Lease, attempted: &str, refusal: &Refusal) -> ExecutorError {
    let reason = refusal.to_string();
    match refusal {
        Refusal::MachineEnding { .. } => lost(lease, reason),
        Refusal::Conflict { what, field } => ExecutorError::Conflict {
            what: what.clone(),
            field: field.clone(),
        },
        _ if refusal.kind() == RefusalKind::Invalid => {
            let field = refusal.field().unwrap_or_default().to_owned();
            ExecutorError::Invalid { field, reason }
        }
        _ => ExecutorError::Refused {
            machine: lease.machine_id().clone(),
            attempted: attempted.to_owned(),
            reason,
        },
    }
}

fn content_of_setup(setup: &StageSetup) -> Content {
    let files = setup.files.iter().flat_map(|file| {
        [
            text(&file.path.display()),
            text(&file.mode),
            text(&file.content.expose()),
        ]
    });
    let secrets = setup.secrets.iter().map(|secret| text(&secret.expose()));
    Content::new([
        (
            "workdir",
            digest(setup.workdir.iter().map(|dir| text(&dir.display()))),
        ),
        (
            "env",
            digest(
                setup
                    .env
                    .iter()
                    .flat_map(|(name, value)| [text(name), text(value)]),
            ),
        ),
        ("files", digest(files)),
        ("secrets", digest(secrets)),
    ])
}

fn content_of_step(step: &Step) -> Content {
    let secrets = step.secret_env.iter();
    Content::new([
        ("command", digest(step.command.iter().map(text))),
        (
            "env",
            digest(
                step.env
                    .iter()
                    .flat_map(|(name, value)| [text(name), text(value)]),
            ),
        ),
        (
            "secret_env",
            digest(secrets.flat_map(|(n, value)| [text(n), text(&value.expose())])),
        ),
        (
            "workdir",
            digest(step.workdir.iter().map(|dir| text(&dir.display()))),
        ),
        ("user", digest(step.user.iter().map(text))),
        (
            "timeout_ms",
            digest(step.timeout.iter().map(|time| text(&time.as_millis()))),
        ),
    ])
}

fn text(value: &impl fmt::Display) -> String {
    value.to_string()
}

fn digest(parts: impl Iterator<Item = String>) -> Digest {
    let parts: Vec<_> = parts.collect();
    Digest(hash(parts.iter().map(String::as_bytes)))
}
