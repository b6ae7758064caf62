//! Runs steps on machines whose agent is vmpool's, over the kept connections.
//!
//! A call that breaks is made again over a new connection: the agent knows
//! stages and steps by their ids and does nothing twice. When the agent counts
//! as gone, the machine is lost, with what was seen last as the reason.

mod run;
pub(crate) mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prost::Message;
use tokio::time::timeout;
use tonic::{Response, Status};
use vmpool_core::{
    Clock, ExecutorError, Guarantees, Lease, LinkError, LogSink, StageSetup, Step, StepExecutor,
    StepId, StepOutcome,
};
use vmpool_proto::agent::v1::agent_client::AgentClient;
use vmpool_proto::agent::v1::{CancelRequest, CleanupRequest};

use self::wire::Verdict;
use crate::connection::{Http2, MAX_REQUEST};
use crate::link::{Agents, Fate, Kept};

/// How many calls in a row may break without any progress.
pub(crate) const TRIES: u32 = 5;

/// How long a call that broke waits for its connection to break as well. When
/// that stays whole, it is the pause before the next try.
const SETTLE: Duration = Duration::from_millis(200);

/// Runs steps through vmpool's own agents.
#[derive(Debug, Clone)]
pub struct AgentExecutor {
    agents: Agents,
    clock: Clock,
}

impl AgentExecutor {
    /// Runs steps over the connections of `agents`.
    pub fn new(agents: Agents) -> Self {
        Self {
            agents,
            clock: Clock::system(),
        }
    }

    async fn reach(&self, lease: &Lease, attempted: &str) -> Result<Arc<Kept>, ExecutorError> {
        let reached = self.agents.reach(lease.machine(), lease.term());
        reached
            .await
            .map_err(|error| not_reached(error, lease, attempted))
    }

    /// Makes one call until it is answered.
    async fn call<T, A>(
        &self,
        lease: &Lease,
        attempted: &str,
        what: &str,
        limit: Duration,
        call: impl Fn(AgentClient<Http2>) -> A + Send + Sync,
    ) -> Result<T, ExecutorError>
    where
        A: Future<Output = Result<Response<T>, Status>> + Send,
        T: Send,
    {
        let mut tries = 0;
        loop {
            let kept = self.reach(lease, attempted).await?;
            let failed = |reason: String| {
                let (stage, attempted) = (lease.stage().clone(), attempted.to_owned());
                ExecutorError::Failed {
                    stage,
                    attempted,
                    reason,
                }
            };
            let status = match timeout(limit, call(kept.agent())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => return Err(failed(format!("no answer in {} s", limit.as_secs_f64()))),
            };
            match wire::verdict(&status, lease, attempted, what) {
                Verdict::Answer(error) => return Err(error),
                Verdict::Broken(reason) => {
                    fate(&kept, lease).await?;
                    tries += 1;
                    if tries >= TRIES {
                        return Err(failed(reason));
                    }
                }
            }
        }
    }
}

#[async_trait]
impl StepExecutor for AgentExecutor {
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
        let left = lease.deadline().since(self.clock.now());
        let request = wire::prepare(lease, setup, left)?;
        fits(&request, "setup")?;
        let what = format!("stage {}", lease.stage());
        let limit = self.agents.config().prepare_timeout;
        let prepare = |mut agent: AgentClient<Http2>| {
            let request = request.clone();
            async move { agent.prepare(request).await }
        };
        self.call(lease, "prepare", &what, limit, prepare).await?;
        Ok(())
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        run::Run::new(self, lease, step)?.follow(log).await
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        run::Run::attach(self, lease, step).follow(log).await
    }

    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError> {
        let request = CancelRequest {
            term: lease.term().0,
            stage_id: lease.stage().as_str().to_owned(),
            step_id: step.as_str().to_owned(),
        };
        let what = format!("step {step}");
        let limit = self.agents.config().call_timeout;
        let cancel = |mut agent: AgentClient<Http2>| {
            let request = request.clone();
            async move { agent.cancel(request).await }
        };
        self.call(lease, &format!("cancel {what}"), &what, limit, cancel)
            .await?;
        Ok(())
    }

    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError> {
        let request = CleanupRequest {
            term: lease.term().0,
            stage_id: lease.stage().as_str().to_owned(),
        };
        let what = format!("stage {}", lease.stage());
        let limit = self.agents.config().cleanup_timeout;
        let cleanup = |mut agent: AgentClient<Http2>| {
            let request = request.clone();
            async move { agent.cleanup(request).await }
        };
        self.call(lease, "clean up", &what, limit, cleanup).await?;
        Ok(())
    }
}

/// What it means that the lease's machine was not reached.
pub(crate) fn not_reached(error: LinkError, lease: &Lease, attempted: &str) -> ExecutorError {
    match error {
        LinkError::Fenced {
            machine,
            theirs,
            ours,
        } => ExecutorError::Refused {
            machine,
            attempted: attempted.to_owned(),
            reason: format!("it obeys term {theirs}, ours is {ours}"),
        },
        LinkError::Unreachable { machine, reason } | LinkError::Enrolment { machine, reason } => {
            ExecutorError::MachineLost { machine, reason }
        }
        error => ExecutorError::MachineLost {
            machine: lease.machine_id().clone(),
            reason: error.to_string(),
        },
    }
}

/// What has become of a connection over which a call broke. An error where
/// another call is no use, because the machine was given up here.
pub(crate) async fn fate(kept: &Kept, lease: &Lease) -> Result<Fate, ExecutorError> {
    let fate = kept.fate(SETTLE).await;
    if fate == Fate::ClosedHere {
        return Err(ExecutorError::MachineLost {
            machine: lease.machine_id().clone(),
            reason: "this runner has given it up".to_owned(),
        });
    }
    Ok(fate)
}

/// Refuses what the agent would not take, before it is sent.
fn fits(request: &impl Message, field: &str) -> Result<(), ExecutorError> {
    let len = request.encoded_len();
    if len <= MAX_REQUEST {
        return Ok(());
    }
    Err(ExecutorError::Invalid {
        field: field.to_owned(),
        reason: format!("it has {len} bytes, at most {MAX_REQUEST} are taken"),
    })
}
