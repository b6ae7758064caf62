//! One executor for machines of both kinds: each is driven by what its agent
//! was found to speak when it was met.

use async_trait::async_trait;
use vmpool_core::{
    ExecutorError, Guarantees, Lease, LogSink, StageSetup, Step, StepExecutor, StepId, StepOutcome,
};

use crate::executor::{AgentExecutor, not_reached};
use crate::incumbent::LiteEngineExecutor;
use crate::link::{Agents, Protocol};

/// Runs steps on machines whose agents speak vmpool's protocol or the
/// incumbent's.
#[derive(Debug, Clone)]
pub struct MachineExecutor {
    agents: Agents,
    ours: AgentExecutor,
    theirs: LiteEngineExecutor,
}

impl MachineExecutor {
    /// Runs steps over the connections of `agents`.
    pub fn new(agents: Agents) -> Self {
        let theirs = LiteEngineExecutor::new(agents.clone());
        Self::with(agents, theirs)
    }

    /// As [`MachineExecutor::new`], with an executor of its own for agents that
    /// speak the incumbent's protocol.
    pub fn with(agents: Agents, theirs: LiteEngineExecutor) -> Self {
        Self {
            ours: AgentExecutor::new(agents.clone()),
            theirs,
            agents,
        }
    }

    async fn of(&self, lease: &Lease, attempted: &str) -> Result<&dyn StepExecutor, ExecutorError> {
        let protocol = self.agents.protocol(lease.machine(), lease.term()).await;
        match protocol.map_err(|error| not_reached(error, lease, attempted))? {
            Protocol::Vmpool => Ok(&self.ours),
            Protocol::Incumbent => Ok(&self.theirs),
        }
    }
}

#[async_trait]
impl StepExecutor for MachineExecutor {
    /// What machines of both kinds keep.
    fn guarantees(&self) -> Guarantees {
        let (ours, theirs) = (self.ours.guarantees(), self.theirs.guarantees());
        Guarantees {
            fences: ours.fences && theirs.fences,
            resumes_logs: ours.resumes_logs && theirs.resumes_logs,
            leaves_nothing: ours.leaves_nothing && theirs.leaves_nothing,
            hides_secrets: ours.hides_secrets && theirs.hides_secrets,
            mutual_tls: ours.mutual_tls && theirs.mutual_tls,
            dead_man: ours.dead_man && theirs.dead_man,
        }
    }

    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        let executor = self.of(lease, "prepare").await?;
        executor.prepare(lease, setup).await
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let executor = self.of(lease, &format!("run step {}", step.id)).await?;
        executor.run(lease, step, log).await
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let executor = self.of(lease, &format!("run step {step}")).await?;
        executor.attach(lease, step, log).await
    }

    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError> {
        let executor = self.of(lease, &format!("cancel step {step}")).await?;
        executor.cancel(lease, step).await
    }

    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError> {
        let executor = self.of(lease, "clean up").await?;
        executor.cleanup(lease).await
    }
}
