//! Agents of the incumbent, driven by its JSON (`/setup`, `/start_step`,
//! `/poll_step`, `/stream_output`, `/destroy`) over the kept connections.
//!
//! ```text
//! prepare ─► /setup ─► mark            the mark: a step that can't run, named after the stage
//! run ─────► mark? ─► /start_step ─┬─► /poll_step       its end
//! attach ──► mark? ────────────────┴─► /stream_output   its log, from the sink's offset
//! cleanup ─► /destroy
//! ```
//!
//! Such an agent has everything in its memory: after its restart it takes a
//! step that it has run for a new one. So none is started over a connection on
//! which the stage's [`mark`] was not seen: an agent that restarts breaks its
//! connections, and has forgotten the mark. What it has forgotten with it is
//! lost, with that reason, and never run twice (P4).
//!
//! - [`throw_away`]: the CA of such a machine;
//! - [`convert`]: between the library's types and the incumbent's, pure;
//! - [`call`]: one request; [`output`]: the reading of a log;
//! - [`mod@run`]: a step, over as many connections as that takes.

mod call;
mod convert;
mod mark;
mod output;
mod run;
mod throw_away;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use vmpool_core::{
    Clock, ExecutorError, Guarantees, Lease, LogSink, Machine, StageSetup, Step, StepExecutor,
    StepId, StepOutcome,
};
use vmpool_proto::incumbent::{DestroyAnswer, DestroyRequest, StartStepRequest, encode};

pub(crate) use self::call::Requests;
use self::call::{CallError, Nothing};
pub(crate) use self::throw_away::SERVER_NAME;
pub use self::throw_away::ThrowAway;
use crate::executor::{TRIES, fate, not_reached};
use crate::link::{Agents, Kept};

/// Where a stage's steps begin, unless they say.
const WORKSPACE: &str = "/tmp/vmpool/workspace";

/// Where on a machine steps begin that name no directory.
type Workspace = dyn Fn(&Machine) -> PathBuf + Send + Sync;

/// Largest body that an agent is sent, in bytes: ours takes no larger one.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Runs steps through agents of the incumbent.
///
/// What they can't keep is in [`LiteEngineExecutor::guarantees`]. Besides, a
/// stage has no directory of its own choice, only the steps have; a user is a
/// number; a signal that ended a step has no name; times are the runner's; and
/// a step that is cancelled goes on until its machine ends,
/// though nobody waits for it any more.
#[derive(Clone)]
pub struct LiteEngineExecutor {
    agents: Agents,
    clock: Clock,
    workspace: Arc<Workspace>,
}

impl fmt::Debug for LiteEngineExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiteEngineExecutor")
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

/// Why a call came to nothing.
enum Fault {
    /// The same again is no use.
    Final(ExecutorError),
    /// The connection broke, or seems to.
    Broken(String),
}

impl LiteEngineExecutor {
    /// Runs steps over the connections of `agents`.
    pub fn new(agents: Agents) -> Self {
        Self {
            agents,
            clock: Clock::system(),
            workspace: Arc::new(|_| WORKSPACE.into()),
        }
    }

    /// Where steps begin that name no directory, and relative paths lie: an
    /// absolute path on the machine, always the same for it. It is made.
    #[must_use]
    pub fn with_workspace(
        mut self,
        workspace: impl Fn(&Machine) -> PathBuf + Send + Sync + 'static,
    ) -> Self {
        self.workspace = Arc::new(workspace);
        self
    }

    async fn reach(&self, lease: &Lease, attempted: &str) -> Result<Arc<Kept>, ExecutorError> {
        let reached = self.agents.reach(lease.machine(), lease.term());
        reached
            .await
            .map_err(|error| not_reached(error, lease, attempted))
    }

    /// Does `work` over one connection after the other, until it does not break.
    async fn over_connections<W>(
        &self,
        lease: &Lease,
        attempted: &str,
        work: impl Fn(Arc<Kept>) -> W + Send + Sync,
    ) -> Result<(), ExecutorError>
    where
        W: Future<Output = Result<(), Fault>> + Send,
    {
        let mut tries = 0;
        loop {
            let kept = self.reach(lease, attempted).await?;
            let reason = match work(Arc::clone(&kept)).await {
                Ok(()) => return Ok(()),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Broken(reason)) => reason,
            };
            fate(&kept, lease).await?;
            tries += 1;
            if tries >= TRIES {
                return Err(failed(lease, attempted, reason));
            }
        }
    }

    /// A setup whose answer was lost is made again: of what is asked of it here
    /// the incumbent's leaks no more than a task at the second time.
    async fn set_up(
        &self,
        kept: Arc<Kept>,
        lease: &Lease,
        body: &[u8],
        mark: &StartStepRequest,
    ) -> Result<(), Fault> {
        let limits = self.agents.config();
        let stage = lease.stage();
        let set_up = async {
            if mark::is_there(&kept, stage).await? {
                return Ok(());
            }
            let requests = kept.requests();
            let limit = limits.prepare_timeout;
            let Nothing {} = requests.post("/setup", body, limit).await?;
            mark::leave(&kept, stage, mark, limits).await
        };
        set_up.await.map_err(|error| fault(error, lease, "prepare"))
    }

    async fn destroy(&self, kept: Arc<Kept>, lease: &Lease) -> Result<(), Fault> {
        let body = encode(&DestroyRequest::default());
        let limit = self.agents.config().cleanup_timeout;
        let requests = kept.requests();
        match requests
            .post::<DestroyAnswer>("/destroy", &body, limit)
            .await
        {
            Ok(_) => Ok(()),
            // So the incumbent's says that it was destroyed already.
            Err(CallError::Refused {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message,
            }) if message.is_empty() => Ok(()),
            Err(error) => Err(fault(error, lease, "clean up")),
        }
    }
}

#[async_trait]
impl StepExecutor for LiteEngineExecutor {
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

    async fn prepare(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        let workspace = (self.workspace)(lease.machine());
        let body = encode(&convert::setup(setup, &workspace)?);
        fits(&body, "setup")?;
        let mark = convert::mark(lease.stage(), &workspace)?;
        let set_up = |kept| self.set_up(kept, lease, &body, &mark);
        self.over_connections(lease, "prepare", set_up).await
    }

    async fn run(
        &self,
        lease: &Lease,
        step: &Step,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        let workspace = (self.workspace)(lease.machine());
        let start = encode(&convert::start(step, &workspace)?);
        fits(&start, "step")?;
        run::Run::of(self, lease, &step.id, Some(start))
            .follow(log)
            .await
    }

    async fn attach(
        &self,
        lease: &Lease,
        step: &StepId,
        log: &mut dyn LogSink,
    ) -> Result<StepOutcome, ExecutorError> {
        run::Run::of(self, lease, step, None).follow(log).await
    }

    /// Gives the step up: the incumbent has no call that ends one. What it
    /// runs is ended by `cleanup` where the agent is ours, else by the
    /// machine's end.
    async fn cancel(&self, lease: &Lease, step: &StepId) -> Result<(), ExecutorError> {
        self.agents.step(lease.machine_id(), step).cancel();
        Ok(())
    }

    async fn cleanup(&self, lease: &Lease) -> Result<(), ExecutorError> {
        let destroy = |kept| self.destroy(kept, lease);
        self.over_connections(lease, "clean up", destroy).await
    }
}

fn failed(lease: &Lease, attempted: &str, reason: String) -> ExecutorError {
    ExecutorError::Failed {
        stage: lease.stage().clone(),
        attempted: attempted.to_owned(),
        reason,
    }
}

/// What a failed call means; `attempted` is a verb and its object.
fn fault(error: CallError, lease: &Lease, attempted: &str) -> Fault {
    Fault::Final(match error {
        CallError::Broken(reason) => return Fault::Broken(reason),
        CallError::Refused { status, message } if status.is_client_error() => {
            ExecutorError::Refused {
                machine: lease.machine_id().clone(),
                attempted: attempted.to_owned(),
                reason: message,
            }
        }
        // An agent that stops says so to everybody who asks.
        CallError::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message,
        } => return Fault::Broken(message),
        error => failed(lease, attempted, error.to_string()),
    })
}

/// Refuses what the agent would not take, before it is sent.
fn fits(body: &[u8], field: &str) -> Result<(), ExecutorError> {
    let len = body.len();
    if len <= MAX_BODY {
        return Ok(());
    }
    Err(ExecutorError::Invalid {
        field: field.to_owned(),
        reason: format!("it has {len} bytes as JSON, at most {MAX_BODY} are taken"),
    })
}
