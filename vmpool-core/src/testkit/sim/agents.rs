//! The agents as one life of a runner reaches them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::life::Life;
use super::world::World;
use crate::agent::Bootstrap;
use crate::executor::{ExecutorError, Guarantees, LogSink, LogSinkError, StepExecutor};
use crate::id::{Attempt, MachineId, OrderId, StageId, StepId, Term};
use crate::link::{AgentLink, AgentReport, Health, LinkError, Machine, PinKey};
use crate::notice::Notice;
use crate::pool::{Lease, RequestHash};
use crate::secret::SecretBytes;
use crate::step::{StageSetup, Step, StepOutcome};
use crate::testkit::{SimExecutor, SimLink};

/// The runner's own line to the agents.
pub(super) struct Line {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
    pub(super) link: Arc<SimLink>,
}

/// Runs steps over a [`Line`].
pub(super) struct Steps {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
    pub(super) executor: Arc<SimExecutor>,
}

type Plain<'a> = Pin<Box<dyn Future<Output = Result<(), ExecutorError>> + Send + 'a>>;

/// How a step's end is asked for.
#[derive(Clone, Copy)]
enum Sought<'a> {
    Run(&'a Step),
    Attach(&'a StepId),
}

/// Executors in a hundred that do not wait until the log is durable.
const HASTY: u64 = 30;

/// A log as an executor sees it that goes on from what it has given: nothing
/// asks it to wait until that is durable.
struct Hasty<'a> {
    log: &'a mut dyn LogSink,
    given: Option<u64>,
}

impl<'a> Hasty<'a> {
    fn new(log: &'a mut dyn LogSink) -> Self {
        Self { log, given: None }
    }
}

#[async_trait]
impl LogSink for Hasty<'_> {
    fn position(&self, step: &StepId) -> u64 {
        self.given.unwrap_or_else(|| self.log.position(step))
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        let kept = self.log.write(step, offset, bytes).await?;
        self.given = Some(offset + bytes.len() as u64);
        Ok(kept)
    }
}

/// An agent may take its time.
async fn slowly(world: &World) {
    if world.dice.chance(world.weather().agent_slow) {
        let most = Duration::from_secs(8);
        tokio::time::sleep(world.dice.span(Duration::ZERO, most)).await;
    }
}

#[async_trait]
impl AgentLink for Line {
    fn bootstrap(&self, order: &OrderId, attempt: Attempt) -> Bootstrap {
        self.link.bootstrap(order, attempt)
    }

    fn seal(&self, order: &OrderId, attempt: Attempt, request: &SecretBytes) -> Arc<[u8]> {
        self.link.seal(order, attempt, request)
    }

    fn unseal(
        &self,
        order: &OrderId,
        attempt: Attempt,
        sealed: &[u8],
    ) -> Result<SecretBytes, LinkError> {
        self.link.unseal(order, attempt, sealed)
    }

    fn keyed_hash(&self, content: &[u8]) -> RequestHash {
        self.link.keyed_hash(content)
    }

    async fn open(
        &self,
        machine: &Machine,
        term: Term,
        pins: &dyn PinKey,
    ) -> Result<AgentReport, LinkError> {
        let entered = self.life.enter(&format!("open {}", machine.id)).await;
        let opened = async {
            slowly(&self.world).await;
            if entered.twice {
                drop(self.link.open(machine, term, pins).await);
            }
            self.link.open(machine, term, pins).await
        };
        let opened = self.life.effect(opened).await;
        let heard = match &opened {
            Ok(report) => format!("{:?}, {} steps", report.stage, report.steps.len()),
            Err(error) => error.to_string(),
        };
        self.life.leave(entered, &heard).await;
        opened
    }

    fn trouble(&self, id: &MachineId) -> Option<String> {
        self.link.trouble(id)
    }

    fn health(&self, id: &MachineId) -> watch::Receiver<Health> {
        self.link.health(id)
    }

    fn notices(&self, id: &MachineId) -> watch::Receiver<Option<Notice>> {
        self.link.notices(id)
    }

    async fn renew(&self, id: &MachineId, term: Term) -> Result<(), LinkError> {
        let entered = self.life.enter(&format!("renew {id}")).await;
        let silent = self.world.dice.chance(self.world.weather().renewal_fails);
        let renewed = if entered.fails || silent {
            Err(LinkError::Unreachable {
                machine: id.clone(),
                reason: "a packet was lost".to_owned(),
            })
        } else {
            if entered.twice {
                drop(self.link.renew(id, term).await);
            }
            self.life.effect(self.link.renew(id, term)).await
        };
        let heard = renewed.as_ref().err().map(ToString::to_string);
        self.life
            .leave(entered, heard.as_deref().unwrap_or("done"))
            .await;
        renewed
    }

    async fn hold(
        &self,
        id: &MachineId,
        term: Term,
        stage: &StageId,
        lasts: Duration,
    ) -> Result<(), LinkError> {
        let entered = self.life.enter(&format!("hold {id}")).await;
        let held = if entered.fails {
            Err(LinkError::Unreachable {
                machine: id.clone(),
                reason: "a packet was lost".to_owned(),
            })
        } else {
            self.life
                .effect(self.link.hold(id, term, stage, lasts))
                .await
        };
        let heard = held.as_ref().err().map(ToString::to_string);
        self.life
            .leave(entered, heard.as_deref().unwrap_or("done"))
            .await;
        held
    }

    fn close(&self, id: &MachineId) {
        if !self.life.is_dead() {
            self.link.close(id);
        }
    }
}

impl Steps {
    /// A call that has no other answer than that it is done.
    async fn plain<'a>(
        &'a self,
        attempted: String,
        lease: &Lease,
        call: impl Fn() -> Plain<'a> + Send,
    ) -> Result<(), ExecutorError> {
        let entered = self.life.enter(&attempted).await;
        let done = if entered.fails {
            self.world.cloud.harm(lease.machine_id());
            Err(ExecutorError::Failed {
                stage: lease.stage().clone(),
                attempted,
                reason: "it fails once".to_owned(),
            })
        } else {
            let slow = async {
                slowly(&self.world).await;
                if entered.twice {
                    drop(call().await);
                }
                call().await
            };
            self.life.effect(slow).await
        };
        let heard = done.as_ref().err().map(ToString::to_string);
        self.life
            .leave(entered, heard.as_deref().unwrap_or("done"))
            .await;
        done
    }

    async fn step(
        &self,
        lease: &Lease,
        sought: Sought<'_>,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let machine = lease.machine_id();
        let attempted = match sought {
            Sought::Run(step) => format!("run {} on {machine}", step.id),
            Sought::Attach(step) => format!("attach to {step} on {machine}"),
        };
        let entered = self.life.enter(&attempted).await;
        let slow = async {
            slowly(&self.world).await;
            if entered.twice {
                drop(self.once(lease, sought, log).await);
            }
            if self.world.dice.chance(HASTY) {
                let mut log = Hasty::new(log);
                return self.once(lease, sought, &mut log).await;
            }
            self.once(lease, sought, log).await
        };
        let ended = self.life.effect(slow).await;
        let heard = match &ended {
            Ok(outcome) => format!("{:?}, log of {} bytes", outcome.status, outcome.log_end),
            Err(error) => error.to_string(),
        };
        self.life.leave(entered, &heard).await;
        ended
    }

    async fn once(
        &self,
        lease: &Lease,
        sought: Sought<'_>,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        match sought {
            Sought::Run(step) => self.executor.run(lease, step, log).await,
            Sought::Attach(step) => self.executor.attach(lease, step, log).await,
        }
    }
}

#[async_trait]
impl StepExecutor for Steps {
    fn guarantees(&self) -> Guarantees {
        self.executor.guarantees()
    }

    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        let (stage, machine) = (lease.stage(), lease.machine_id());
        let attempted = format!("prepare {machine} for {stage}");
        let accepted = self.world.link.agent(machine);
        if let Some((other, _)) = accepted.rules().stage()
            && other != stage
        {
            self.world.trace.wrong(format_args!(
                "P2: {machine} is asked to serve {stage}, it serves {other}"
            ));
        }
        let spoiled = self.world.cloud.is_spoiled(machine);
        // It may fail before the machine knows of its stage, or after.
        let reached = !spoiled || self.world.dice.chance(50);
        let prepare = || -> Plain<'_> {
            Box::pin(async move {
                if reached {
                    self.executor.prepare(lease, setup).await?;
                }
                if spoiled {
                    return Err(ExecutorError::Failed {
                        stage: stage.clone(),
                        attempted: "prepare the machine".to_owned(),
                        reason: "its disk is full".to_owned(),
                    });
                }
                Ok(())
            })
        };
        self.plain(attempted, lease, prepare).await
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        self.step(lease, Sought::Run(step), log).await
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        self.step(lease, Sought::Attach(step), log).await
    }

    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError> {
        let attempted = format!("cancel {step} on {}", lease.machine_id());
        let cancel = || self.executor.cancel(lease, step);
        self.plain(attempted, lease, cancel).await
    }

    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError> {
        let attempted = format!("clean up {}", lease.machine_id());
        let cleanup = || self.executor.cleanup(lease);
        self.plain(attempted, lease, cleanup).await
    }
}
