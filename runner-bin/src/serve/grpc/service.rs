//! The calls of `vmpool.v1`.

use std::sync::Arc;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use vmpool_core::explain::{ExplainError, Kind, explain};
use vmpool_core::ledger::Ledger;
use vmpool_core::runner::Runner;
use vmpool_core::sweep::{Question, sweep};
use vmpool_core::{Clock, DeploymentId, Owner, RunnerId, StageId, StepId};
use vmpool_proto::v1;
use vmpool_proto::v1::runner_server;

use super::ledger::{Lines, lines, unchecked};
use super::visible::{READING, parse, pool_of, read, silent_journal, unknown};
use super::watch::{Statuses, statuses};
use crate::messages::{self, WAITING};
use crate::serve::access::{Caller, not_there};
use crate::serve::desk::Desk;
use crate::serve::logs::FileLogs;
use crate::serve::operate::{self, Parts};

/// Answers tools for one runner, as long as it has its pools.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Service {
    pub(in crate::serve) runner: Runner,
    pub(in crate::serve) id: RunnerId,
    pub(in crate::serve) owner: Owner,
    pub(in crate::serve) deployment: DeploymentId,
    /// Answers what is to be done, wherever the pool is.
    pub(in crate::serve) desk: Desk,
    /// The logs of the deployment's steps.
    pub(in crate::serve) logs: FileLogs,
    /// Cancelled when the runner gives its pools up.
    pub(in crate::serve) leaving: CancellationToken,
}

/// The runner is left: whoever asks should ask the next one.
pub(in crate::serve) fn moved() -> Status {
    Status::unavailable("the runner hands over or stops: connect again")
}

#[tonic::async_trait]
impl runner_server::Runner for Service {
    type WatchStream = Statuses;
    type LedgerStream = Lines;
    type LogStream = Parts;

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let pool = self.pool(&request.pool, &caller)?;
        let mut status = self.pools(pool.as_ref(), &caller)?;
        if let (Some(_), [pool]) = (pool, &mut *status.pools)
            && !pool.ours
            && !pool.unknown
            && let Ok(theirs) = self.pool_of_owner(&request, &caller).await
        {
            *pool = theirs;
        }
        Ok(Response::new(status))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Statuses>, Status> {
        let caller = Caller::of(request.extensions());
        let pool = self.pool(&request.into_inner().pool, &caller)?;
        Ok(Response::new(statuses(self.clone(), pool, caller)))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let subject = request.into_inner().subject;
        self.may_ask_about(&subject, &caller).await?;
        let (journal, now) = (self.runner.journal(), Clock::system().now());
        let mut live = self.live();
        live.retain(|pool| self.may_use(&caller, &pool.name).is_ok());
        let told = timeout(READING, explain(&**journal, &subject, now, &live)).await;
        let told = told.map_err(|_| silent_journal())?;
        let mut story = told.map_err(|error| {
            let code = match error {
                ExplainError::Unknown { .. } => return unknown(&subject),
                ExplainError::BadId { .. } => Code::InvalidArgument,
                _ => Code::Unavailable,
            };
            Status::new(code, format!("{:#}", anyhow::Error::new(error)))
        })?;
        // The id may be a machine's, too, whose pool is not the caller's.
        let asked = matches!(story.kind, Kind::Stage | Kind::Request);
        if !caller.is_unrestricted() && !asked {
            return Err(unknown(&subject));
        }
        story.moments.extend(self.fares(&subject, &live).await);
        Ok(Response::new(messages::story(story)))
    }

    async fn ledger(&self, request: Request<v1::LedgerRequest>) -> Result<Response<Lines>, Status> {
        let caller = Caller::of(request.extensions());
        let pool = parse(&request.into_inner().pool)?;
        match &pool {
            Some(pool) => self.may_use(&caller, pool)?,
            None => caller.may_use_all()?,
        }
        let live = self.live();
        let unchecked = unchecked(&self.runner.status(), pool.as_ref());
        let ledger = Ledger::of(Arc::clone(self.runner.journal()))
            .only(pool)
            .with_unaccounted(&live);
        Ok(Response::new(lines(
            ledger,
            unchecked,
            self.leaving.clone(),
        )))
    }

    async fn sweep(
        &self,
        request: Request<v1::SweepRequest>,
    ) -> Result<Response<v1::SweepResponse>, Status> {
        Caller::of(request.extensions()).may_use_all()?;
        let request = request.into_inner();
        let named = match request.deployment_id.as_str() {
            "" => None,
            id => Some(DeploymentId::parse(id)),
        };
        let named = named.transpose();
        let named =
            named.map_err(|error| Status::invalid_argument(format!("deployment_id: {error}")))?;
        let question = Question {
            owner: &self.owner,
            ours: Some(&self.deployment),
            named: named.as_ref(),
            now: Clock::system().now(),
        };
        let sources = self.runner.sources();
        let providers: Vec<_> = sources.into_iter().map(|source| source.provider).collect();
        let report = sweep(&providers, &question, request.act).await;
        let ended = report.swept.iter().filter(|swept| swept.failed.is_none());
        if request.act {
            let (asked, ended) = (report.swept.len(), ended.count());
            tracing::info!(named = ?question.named, asked, ended, "swept as a tool asked for");
        }
        Ok(Response::new(messages::swept(
            report,
            &question,
            request.act,
        )))
    }

    async fn cordon(
        &self,
        request: Request<v1::CordonRequest>,
    ) -> Result<Response<v1::Pool>, Status> {
        let caller = Caller::of(request.extensions());
        let mut request = request.into_inner();
        self.may_use(&caller, &pool_of(&request.pool)?)?;
        name(&caller, &mut request.by);
        operate::ask(&self.desk, &caller, &request)
            .await
            .map(Response::new)
    }

    async fn fill(&self, request: Request<v1::FillRequest>) -> Result<Response<v1::Pool>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        self.may_use(&caller, &pool_of(&request.pool)?)?;
        operate::ask(&self.desk, &caller, &request)
            .await
            .map(Response::new)
    }

    async fn stages(
        &self,
        request: Request<v1::StagesRequest>,
    ) -> Result<Response<v1::StagesResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let pool = parse(&request.into_inner().pool)?;
        if let Some(pool) = &pool {
            self.may_use(&caller, pool)?;
        }
        let live = self.live();
        let listed = operate::listed(&**self.runner.journal(), &live, pool.as_ref());
        let mut listed = read(listed).await?;
        let elsewhere = self
            .desk
            .waiting_elsewhere(&self.runner, &caller, pool.as_ref());
        listed.stages.extend(elsewhere.await);
        listed.stages.sort_by(|one, other| {
            (one.since_unix_ms, &one.id).cmp(&(other.since_unix_ms, &other.id))
        });
        let pools = self.desk.pools();
        let visible = |stage: &v1::Stage| {
            let pool = stage.pool.as_str().into();
            caller.may_use_of(&pools, &pool).is_ok()
        };
        listed.stages.retain(visible);
        if let (Some(pool), true) = (&pool, listed.stages.is_empty()) {
            let known = timeout(READING, self.runner.knows(pool)).await;
            let known = known.map_err(|_| silent_journal())?;
            if !known.unwrap_or(true) {
                return Err(not_there(
                    "UNKNOWN_POOL",
                    format!("there is no pool {pool}"),
                ));
            }
        }
        Ok(Response::new(listed))
    }

    async fn one_stage(
        &self,
        request: Request<v1::OneStageRequest>,
    ) -> Result<Response<v1::Stage>, Status> {
        let caller = Caller::of(request.extensions());
        let stage = self.stage(&caller, &request.into_inner().stage_id).await?;
        Ok(Response::new(stage))
    }

    async fn cancel_stage(
        &self,
        request: Request<v1::CancelStageRequest>,
    ) -> Result<Response<v1::CancelStageResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let mut request = request.into_inner();
        let stage = self.stage(&caller, &request.stage_id).await?;
        name(&caller, &mut request.by);
        let (id, pool) = (stage.id.as_str().into(), stage.pool.as_str().into());
        if stage.state == WAITING && !self.waits(&id) {
            let withdrawn = self.desk.withdraw_from(&pool, &id, &caller).await;
            withdrawn.map_err(|failed| Status::unavailable(failed.error()))?;
            return Ok(Response::new(v1::CancelStageResponse {}));
        }
        operate::ask(&self.desk, &caller, &request)
            .await
            .map(Response::new)
    }

    async fn cancel_step(
        &self,
        request: Request<v1::CancelStepRequest>,
    ) -> Result<Response<v1::CancelStepResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let stage = self.stage(&caller, &request.stage_id).await?;
        let step = StepId::parse(&request.step_id);
        let step = step.map_err(|error| Status::invalid_argument(format!("step_id: {error}")))?;
        let is_known = stage.steps.iter().any(|known| known.id == step.as_str());
        if !is_known {
            return Err(operate::no_such_step(&stage, &step));
        }
        operate::ask(&self.desk, &caller, &request)
            .await
            .map(Response::new)
    }

    async fn hold(
        &self,
        request: Request<v1::HoldRequest>,
    ) -> Result<Response<v1::HoldResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let mut request = request.into_inner();
        self.stage(&caller, &request.stage_id).await?;
        name(&caller, &mut request.by);
        operate::ask(&self.desk, &caller, &request)
            .await
            .map(Response::new)
    }

    async fn release_hold(
        &self,
        request: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        self.stage(&caller, &request.stage_id).await?;
        operate::ask(&self.desk, &caller, &request)
            .await
            .map(Response::new)
    }

    async fn log(&self, request: Request<v1::LogRequest>) -> Result<Response<Parts>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        self.stage(&caller, &request.stage_id).await?;
        let stage = StageId::parse(&request.stage_id);
        let stage =
            stage.map_err(|error| Status::invalid_argument(format!("stage_id: {error}")))?;
        let step = StepId::parse(&request.step_id);
        let step = step.map_err(|error| Status::invalid_argument(format!("step_id: {error}")))?;
        let (offset, follow) = (request.offset, request.follow);
        let parts = operate::parts(self, stage, step, offset, follow).await?;
        Ok(Response::new(parts))
    }
}

/// Who is known by a name can't give himself another.
fn name(caller: &Caller, by: &mut String) {
    if let Some(name) = caller.name() {
        name.clone_into(by);
    }
}
