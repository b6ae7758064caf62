//! Runs steps on leased machines, through whatever agent they have.

use std::time::Duration;

use async_trait::async_trait;

use crate::id::{MachineId, StageId, StepId};
use crate::pool::Lease;
use crate::step::{Returned, StageSetup, Step, StepOutcome};

/// Runs a stage's steps on its machine.
///
/// Every call may be repeated (P9): what is prepared stays prepared, a step
/// that runs or has run is attached to by its id, never run again (P4).
#[async_trait]
pub trait StepExecutor: Send + Sync + 'static {
    /// What this kind of agent keeps of the promises.
    fn guarantees(&self) -> Guarantees;

    /// Makes the machine ready for the stage: working directory, environment, files.
    ///
    /// # Errors
    /// The machine is not ready; the same call may be made again.
    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError>;

    /// Runs `step`, or attaches to it, until it ends, and gives its log to `log`
    /// from [`LogSink::position`] on. The agent is told what the sink has
    /// durably, and keeps the rest.
    ///
    /// # Errors
    /// The step's end could not be learned. A step that fails is `Ok`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the step running; a further call attaches.
    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError>;

    /// As [`StepExecutor::run`], for a step that the agent has already: by its
    /// id alone, for a runner that does not know what the step runs. Never
    /// starts anything.
    ///
    /// # Errors
    /// As for [`StepExecutor::run`]; [`ExecutorError::UnknownStep`] where the
    /// agent never got the step.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the step running; a further call attaches.
    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError>;

    /// Cancels a step; its `run` then ends with `Cancelled`. One that has ended is no error.
    ///
    /// # Errors
    /// The agent was not reached.
    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError>;

    /// Ends the stage on the machine: no process and no file of it is left.
    ///
    /// # Errors
    /// Something may be left; the machine's end takes it.
    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError>;
}

/// Takes a step's log.
#[async_trait]
pub trait LogSink: Send {
    /// Up to where this sink has the step's log durably, in bytes.
    fn position(&self, step: &StepId) -> u64;

    /// Takes `bytes`, which begin at `offset`, and says up to where it has the
    /// log durably now.
    ///
    /// # Errors
    /// The sink is broken; the step goes on, its log stays on the machine.
    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError>;

    /// Makes what was written durable, and says up to where the log is. Called
    /// before a step's end is written down.
    ///
    /// # Errors
    /// As for [`LogSink::write`].
    async fn sync(&mut self, step: &StepId) -> Result<u64, LogSinkError> {
        Ok(self.position(step))
    }

    /// Takes what the step has returned, durably. Called before [`LogSink::sync`],
    /// with the same more than once where it is learned again.
    ///
    /// # Errors
    /// As for [`LogSink::write`].
    async fn returned(&mut self, step: &StepId, returned: &Returned) -> Result<(), LogSinkError> {
        let _ = (step, returned);
        Ok(())
    }

    /// The machine has more of the log, but could not be emptied: says so in
    /// the log, where its reader will look.
    ///
    /// # Errors
    /// As for [`LogSink::write`].
    async fn gap(&mut self, step: &StepId, reason: &str) -> Result<(), LogSinkError> {
        let _ = (step, reason);
        Ok(())
    }
}

/// Where the logs of a runner's steps go, for good.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// The log of a step, from where it is durable. Opened again after a
    /// restart, perhaps by another runner of the deployment, it goes on there.
    ///
    /// # Errors
    /// It could not be opened.
    async fn open(&self, stage: &StageId, step: &StepId) -> Result<Box<dyn LogSink>, LogSinkError>;

    /// What a step has returned, as its [`LogSink`] took it; nothing where it
    /// has returned nothing, or this store keeps no such thing.
    ///
    /// # Errors
    /// It could not be read.
    async fn returned(&self, stage: &StageId, step: &StepId) -> Result<Returned, LogSinkError> {
        let _ = (stage, step);
        Ok(Returned::default())
    }
}

/// A sink that can't take a log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("write the log of step {step} at {offset}: {reason}")]
pub struct LogSinkError {
    /// The step.
    pub step: StepId,
    /// Where in its log.
    pub offset: u64,
    /// What went wrong.
    pub reason: String,
}

/// What an agent keeps of the promises (DESIGN §5, the table below the promises).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarantees {
    /// The agent refuses a second stage and a lower term (P2).
    pub fences: bool,
    /// A log goes on where it was after the agent restarts (P4).
    pub resumes_logs: bool,
    /// A step that is over leaves no process behind (P10).
    pub leaves_nothing: bool,
    /// Values of secrets do not show in logs (P11).
    pub hides_secrets: bool,
    /// Only a runner's certificate is obeyed (P12).
    pub mutual_tls: bool,
    /// The dead-man's clocks run on the machine (P1).
    pub dead_man: bool,
}

/// Why an executor could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// The machine is gone or its agent does not answer: the stage is lost.
    #[error("machine {machine} was lost: {reason}")]
    MachineLost {
        /// The machine.
        machine: MachineId,
        /// What was seen last.
        reason: String,
    },
    /// The agent refused: another stage, a lower term, an ended stage.
    #[error("machine {machine} refused {attempted}: {reason}")]
    Refused {
        /// The machine.
        machine: MachineId,
        /// What was attempted.
        attempted: String,
        /// The agent's reason.
        reason: String,
    },
    /// The agent does not have the step: it never got it.
    #[error("machine {machine} does not have step {step}")]
    UnknownStep {
        /// The machine.
        machine: MachineId,
        /// The step.
        step: StepId,
    },
    /// The step was not begun: its machine has not answered for so long. It is
    /// begun when it does, unless the stage ends first.
    #[error("machine {machine} has not answered for {} s, step {step} is not begun", after.as_secs())]
    NotBegun {
        /// The machine.
        machine: MachineId,
        /// The step.
        step: StepId,
        /// How long the step has waited for its machine.
        after: Duration,
    },
    /// The same id was used for something else before (P5).
    #[error("{what} was given before with another {field}")]
    Conflict {
        /// `step build` or `stage 17`.
        what: String,
        /// The field that differs.
        field: String,
    },
    /// The input can't be carried out (P13).
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log's sink broke.
    #[error("the log of step {step} could not be kept")]
    Log {
        /// The step.
        step: StepId,
        /// What the sink said.
        #[source]
        source: LogSinkError,
    },
    /// The agent failed at it.
    #[error("{attempted} for stage {stage}: {reason}")]
    Failed {
        /// The stage.
        stage: StageId,
        /// What was attempted.
        attempted: String,
        /// What went wrong.
        reason: String,
    },
}
