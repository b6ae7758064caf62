//! An executor that gets stuck, or fails, before it reaches the agent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use vmpool_core::testkit::SimExecutor;
use vmpool_core::{
    ExecutorError, Guarantees, Lease, LogSink, MachineId, StageSetup, Step, StepExecutor, StepId,
    StepOutcome,
};

/// What it does not get through with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// No preparation is ever answered.
    Prepare,
    /// No preparation of the first so many machines is ever answered.
    PrepareHangs(usize),
    /// The first so many machines can't be prepared, which shows after a second.
    PrepareFails(usize),
    /// Every preparation takes so long, and the first machine's fails then.
    PrepareTakes(Duration),
    /// No machine could carry the setup out.
    SetupInvalid,
    /// No step gets to the agent.
    Run,
}

/// An executor with a trap.
pub(crate) struct Stuck {
    inner: Arc<SimExecutor>,
    trap: Trap,
    broken: Mutex<Vec<MachineId>>,
}

impl Stuck {
    pub(crate) fn at(trap: Trap, inner: Arc<SimExecutor>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            trap,
            broken: Mutex::default(),
        })
    }

    /// It is one of the first so many machines.
    fn is_broken(&self, machine: &MachineId, first: usize) -> bool {
        let mut broken = self.broken.lock();
        if broken.len() < first && !broken.contains(machine) {
            broken.push(machine.clone());
        }
        broken.contains(machine)
    }
}

#[async_trait]
impl StepExecutor for Stuck {
    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        let trap = match self.trap {
            Trap::PrepareTakes(takes) => {
                tokio::time::sleep(takes).await;
                Trap::PrepareFails(1)
            }
            trap => trap,
        };
        match trap {
            Trap::Prepare => std::future::pending().await,
            Trap::PrepareFails(first) if self.is_broken(lease.machine_id(), first) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err(ExecutorError::Failed {
                    stage: lease.stage().clone(),
                    attempted: "prepare the machine".to_owned(),
                    reason: "its disk is full".to_owned(),
                })
            }
            Trap::SetupInvalid => Err(ExecutorError::Invalid {
                field: "workdir".to_owned(),
                reason: "it is no path".to_owned(),
            }),
            Trap::PrepareHangs(first) if self.is_broken(lease.machine_id(), first) => {
                std::future::pending().await
            }
            Trap::PrepareHangs(_) | Trap::PrepareFails(_) | Trap::PrepareTakes(_) | Trap::Run => {
                self.inner.prepare(lease, setup).await
            }
        }
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        if self.trap == Trap::Run {
            return std::future::pending().await;
        }
        self.inner.run(lease, step, log).await
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        self.inner.attach(lease, step, log).await
    }

    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError> {
        self.inner.cancel(lease, step).await
    }

    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError> {
        self.inner.cleanup(lease).await
    }
}
