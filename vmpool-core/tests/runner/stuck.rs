//! An executor that gets stuck, or fails, before it reaches the agent.

use std::sync::Arc;

use async_trait::async_trait;
use vmpool_core::testkit::SimExecutor;
use vmpool_core::{
    ExecutorError, Guarantees, Lease, LogSink, StageSetup, Step, StepExecutor, StepId, StepOutcome,
};

/// What it does not get through with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// No preparation is ever answered.
    Prepare,
    /// Every preparation fails.
    PrepareFails,
    /// No step gets to the agent.
    Run,
}

/// An executor with a trap.
pub(crate) struct Stuck {
    inner: Arc<SimExecutor>,
    trap: Trap,
}

impl Stuck {
    pub(crate) fn at(trap: Trap, inner: Arc<SimExecutor>) -> Arc<Self> {
        Arc::new(Self { inner, trap })
    }
}

#[async_trait]
impl StepExecutor for Stuck {
    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        match self.trap {
            Trap::Prepare => std::future::pending().await,
            Trap::PrepareFails => Err(ExecutorError::Failed {
                stage: lease.stage().clone(),
                attempted: "prepare the machine".to_owned(),
                reason: "its disk is full".to_owned(),
            }),
            Trap::Run => self.inner.prepare(lease, setup).await,
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
