//! The gRPC API for CI systems, `vmpool.v1.Builds`: acquire, run, release.
//!
//! A call becomes an [`Ask`] and goes by the desk to whoever has its
//! pool, as a call of HTTP does, with the same promises. Streams hold nothing:
//! progress is asked for again, output is read from its file as fast as the
//! caller takes it. When the runner is left they end with UNAVAILABLE, and their
//! callers ask the next one the same.

mod acquire;
mod answer;
mod ask;
mod asked;
mod deadline;
mod events;
mod failure;
mod message;
mod output;
mod request;
mod turns;

use std::pin::Pin;

use futures_util::Stream;
use prost::Message;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use vmpool_agent::Agents;
use vmpool_core::runner::{Runner, RunnerError};
use vmpool_core::stage::StepHash;
use vmpool_core::{AgentLink as _, PoolName, StageId, StepId};
use vmpool_proto::v1;
use vmpool_proto::v1::builds_server;

use self::ask::Method;
pub(in crate::serve) use self::ask::{Ask, withdrawal};
use self::failure::{Failure, Reason, another_step, moved, other, over_time};
use self::output::Following;
use super::visible::READING;
use crate::serve::access::Caller;
use crate::serve::desk::Desk;
use crate::serve::logs::FileLogs;

/// A stream as it is sent.
type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers CI systems during one shift.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Builds {
    pub(in crate::serve) desk: Desk,
    pub(in crate::serve) logs: FileLogs,
    /// Knows by its hash what a step was asked for with.
    pub(in crate::serve) agents: Agents,
    /// Cancelled when the runner gives its pools up.
    pub(in crate::serve) leaving: CancellationToken,
    /// Calls under way.
    pub(in crate::serve) tasks: TaskTracker,
    /// Who asks.
    pub(in crate::serve) caller: Caller,
}

impl Builds {
    /// The same, asked by this caller.
    fn by(&self, caller: Caller) -> Self {
        Self {
            caller,
            ..self.clone()
        }
    }

    /// Asks, and waits for the answer, until the caller's deadline.
    async fn call<M: Message + Default>(
        &self,
        method: Method,
        metadata: &MetadataMap,
        message: &impl Message,
    ) -> Result<Response<M>, Status> {
        let until = deadline::of(metadata);
        let mut asked = self.ask(method, message, Instant::now());
        tokio::select! {
            answer = asked.answer() => answer.map(Response::new),
            () = acquire::passed(until) => Err(over_time()),
        }
    }

    /// The caller may use the pool, or the family of pools that it is of.
    fn allow(&self, caller: &Caller, pool: &PoolName) -> Result<(), Failure> {
        let allowed = caller.may_use_of(&self.desk.pools(), pool);
        allowed.map_err(|error| Failure::new(Reason::NotAllowed, error.to_string()))
    }

    /// The caller may use the pool of this stage. One that no runner knows has none.
    async fn allow_stage(&self, caller: &Caller, stage: &str) -> Result<(), Status> {
        if caller.is_unrestricted() {
            return Ok(());
        }
        let stage = request::stage(stage)?;
        let pool = timeout(READING, self.runner()?.pool_of(&stage)).await;
        match pool {
            Ok(Ok(None)) => Ok(()),
            // One that is not for the caller looks like one that is not there.
            Ok(Ok(Some(pool))) => match self.allow(caller, &pool) {
                Ok(()) => Ok(()),
                Err(_) => Err(other(RunnerError::UnknownStage { stage }).into()),
            },
            Ok(Err(error)) => Err(other(error.into()).into()),
            Err(_) => Err(silent_journal()),
        }
    }

    /// The step was given with this content, as far as the journal knows.
    async fn is_the_same(
        &self,
        stage: &StageId,
        step: &StepId,
        given: StepHash,
    ) -> Result<(), Status> {
        let runner = self.runner()?;
        let record = match timeout(READING, runner.journal().stage(stage)).await {
            Ok(Ok(record)) => record,
            Ok(Err(error)) => return Err(other(error.into()).into()),
            Err(_) => return Err(silent_journal()),
        };
        let steps = record.iter().flat_map(|record| &record.steps);
        let known = steps.filter(|row| row.id == *step).find_map(|row| row.hash);
        match known {
            Some(known) if known != given => Err(another_step(step)),
            _ => Ok(()),
        }
    }

    fn runner(&self) -> Result<Runner, Status> {
        self.desk.runner().ok_or_else(moved)
    }

    fn follow(
        &self,
        method: Method,
        message: &impl Message,
        of: Wanted<'_>,
    ) -> Result<Sent<v1::RunEvent>, Status> {
        Ok(output::follow(Following {
            ended: self.ask(method, message, Instant::now()),
            given: of.given,
            builds: self.clone(),
            stage: request::stage(of.stage)?,
            step: request::step(of.step)?,
            from: of.from,
            until: of.until,
        }))
    }
}

fn silent_journal() -> Status {
    Failure::new(Reason::JournalAway, "the journal does not answer").into()
}

/// What is to be followed.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    stage: &'a str,
    step: &'a str,
    from: u64,
    /// What the step is, where the caller has said so.
    given: Option<StepHash>,
    until: Option<Instant>,
}

#[tonic::async_trait]
impl builds_server::Builds for Builds {
    type AcquireStream = Sent<v1::AcquireProgress>;
    type RunStream = Sent<v1::RunEvent>;
    type AttachStream = Sent<v1::RunEvent>;
    type WatchEventsStream = Sent<v1::PoolEvent>;

    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<Self::AcquireStream>, Status> {
        let until = deadline::of(request.metadata());
        let caller = Caller::of(request.extensions());
        let mut message = request.into_inner();
        let builds = self.by(caller);
        let turns = builds.turns(&message).await?;
        if self.desk.is_stopping() {
            return Err(moved());
        }
        turns.first().clone_into(&mut message.pool);
        let acquired = acquire::acquire(builds, message, turns, until);
        Ok(Response::new(acquired))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let caller = Caller::of(&extensions);
        self.by(caller)
            .call(Method::Release, &metadata, &message)
            .await
    }

    async fn run(
        &self,
        request: Request<v1::RunRequest>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let until = deadline::of(request.metadata());
        let caller = Caller::of(request.extensions());
        let message = request.into_inner();
        self.allow_stage(&caller, &message.stage_id).await?;
        let (_, step) = request::run(message.clone())?;
        let wanted = Wanted {
            stage: &message.stage_id,
            step: &message.step_id,
            from: message.from_offset,
            given: Some(self.agents.keyed_hash(&step.content())),
            until,
        };
        let followed = self.by(caller).follow(Method::Run, &message, wanted)?;
        Ok(Response::new(followed))
    }

    async fn attach(
        &self,
        request: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let until = deadline::of(request.metadata());
        let caller = Caller::of(request.extensions());
        let message = request.into_inner();
        self.allow_stage(&caller, &message.stage_id).await?;
        let wanted = Wanted {
            stage: &message.stage_id,
            step: &message.step_id,
            from: message.from_offset,
            given: None,
            until,
        };
        let followed = self.by(caller).follow(Method::Attach, &message, wanted)?;
        Ok(Response::new(followed))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let caller = Caller::of(&extensions);
        self.by(caller)
            .call(Method::Cancel, &metadata, &message)
            .await
    }

    async fn get_stage(
        &self,
        request: Request<v1::GetStageRequest>,
    ) -> Result<Response<v1::GetStageResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let stage = request::stage(&request.into_inner().stage_id)?;
        let runner = self.runner()?;
        let record = timeout(READING, runner.journal().stage(&stage)).await;
        let record = match record {
            Ok(Ok(record)) => {
                let theirs = record.filter(|of| self.allow(&caller, &of.stage.pool).is_ok());
                theirs.ok_or(RunnerError::UnknownStage { stage })
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => return Err(silent_journal()),
        };
        let record = record.map_err(other)?;
        Ok(Response::new(message::stage(&record)))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let only = match request.pool.as_str() {
            "" => None,
            name => Some(request::pool(name)?),
        };
        if let Some(pool) = &only {
            self.allow(&caller, pool)?;
        }
        let wanted = events::Wanted { caller, only };
        let events = events::watch(self.clone(), self.runner()?, wanted, request.after_seq);
        Ok(Response::new(events.await?))
    }
}
