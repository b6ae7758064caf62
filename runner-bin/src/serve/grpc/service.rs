//! The calls of `vmpool.v1`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use vmpool_core::explain::{ExplainError, Kind, Moment, explain};
use vmpool_core::journal::JournalError;
use vmpool_core::ledger::Ledger;
use vmpool_core::pool::PoolStatus;
use vmpool_core::runner::{PoolOwner, PoolStanding, Runner};
use vmpool_core::sweep::{Question, sweep};
use vmpool_core::{Clock, DeploymentId, Owner, PoolName, RunnerId, StageId, StepId};
use vmpool_proto::v1;
use vmpool_proto::v1::runner_server;

use super::ledger::{Lines, lines, unchecked};
use super::watch::{Statuses, statuses};
use crate::messages::{self, WAITING};
use crate::serve::access::{Caller, NotAllowed, not_there};
use crate::serve::desk::Desk;
use crate::serve::logs::FileLogs;
use crate::serve::operate::{self, Parts};

/// How long the journal may take to be read for one answer.
pub(in crate::serve) const READING: Duration = Duration::from_secs(30);

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

impl Service {
    /// All pools that are for the caller, or one, as they are now.
    pub(super) fn pools(
        &self,
        pool: Option<&PoolName>,
        caller: &Caller,
    ) -> Result<v1::StatusResponse, Status> {
        if self.leaving.is_cancelled() {
            return Err(moved());
        }
        let file = self.desk.pools();
        let standings = self.runner.status().into_iter();
        let wanted = standings
            .filter(|standing| pool.is_none_or(|name| standing.name == *name))
            .filter(|standing| caller.may_use_of(&file, &standing.name).is_ok());
        let pools: Vec<_> = wanted.map(messages::standing).collect();
        if let (Some(pool), true) = (pool, pools.is_empty()) {
            let told = format!("there is no pool {pool} here");
            return Err(not_there("UNKNOWN_POOL", told));
        }
        let mut troubles = self.runner.troubles();
        if !caller.is_unrestricted() {
            // They are of the runner, and may name any pool.
            troubles.clear();
        }
        let troubles = troubles.into_iter();
        Ok(v1::StatusResponse {
            runner_id: self.id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            owner: self.owner.to_string(),
            deployment_id: self.deployment.to_string(),
            at_unix_ms: Clock::system().now().0,
            pools,
            troubles: troubles.map(messages::trouble).collect(),
        })
    }

    /// A pool as its own runner sees it.
    pub(in crate::serve) async fn pool_of_owner(
        &self,
        request: &v1::StatusRequest,
        caller: &Caller,
    ) -> Result<v1::Pool, Status> {
        let mut pool = operate::ask(&self.desk, caller, request).await?;
        match self.runner.owner(&pool.name.as_str().into()) {
            PoolOwner::Ours => {}
            PoolOwner::Theirs(holder) => {
                (pool.ours, pool.holder) = (false, holder.runner.to_string());
            }
            PoolOwner::Nobodys | PoolOwner::Unknown => pool.ours = false,
        }
        Ok(pool)
    }

    /// The pool of this name, which must be known here; none: all.
    fn pool(&self, name: &str, caller: &Caller) -> Result<Option<PoolName>, Status> {
        let pool = parse(name)?;
        match &pool {
            Some(name) => {
                self.may_use(caller, name)?;
                // Fails where there is no such pool.
                self.pools(pool.as_ref(), caller).map(|_| pool)
            }
            None => Ok(None),
        }
    }

    /// Whether the story of a stage or a machine is for the caller. To one that
    /// may use some pools only, a stage elsewhere looks like one that never was.
    async fn may_ask_about(&self, subject: &str, caller: &Caller) -> Result<(), Status> {
        if caller.is_unrestricted() {
            return Ok(());
        }
        let pool = match StageId::parse(subject) {
            Ok(stage) => self.runner.pool_of(&stage).await,
            Err(_) => Ok(None),
        };
        let pool = pool.map_err(|_| silent_journal())?;
        if pool.is_some_and(|pool| self.may_use(caller, &pool).is_ok()) {
            return Ok(());
        }
        Err(unknown(subject))
    }

    /// How the machine fares that is asked about, or that its stage has.
    async fn fares(&self, subject: &str, live: &[PoolStatus]) -> Option<Moment> {
        let mut machines = live.iter().flat_map(|pool| &pool.machines);
        let machine = machines.find(|machine| {
            let stage = machine.stage.as_ref();
            machine.id.as_str() == subject || stage.is_some_and(|id| id.as_str() == subject)
        })?;
        let facts = self.runner.facts(&machine.id).await?;
        Some(Moment {
            at: Clock::system().now(),
            of: format!("machine {}", machine.id),
            what: "now".to_owned(),
            cause: facts.to_string(),
        })
    }

    /// A stage that the caller may see.
    async fn stage(&self, caller: &Caller, id: &str) -> Result<v1::Stage, Status> {
        let id = StageId::parse(id);
        let id = id.map_err(|error| Status::invalid_argument(format!("stage_id: {error}")))?;
        let found = read(operate::one(self.runner.journal(), &self.live(), &id)).await?;
        // To one that may not use its pool, it looks like one that never was.
        let visible = |stage: &v1::Stage| {
            let pool = stage.pool.as_str().into();
            self.may_use(caller, &pool).is_ok()
        };
        if let Some(stage) = found {
            let stage = Some(stage).filter(visible);
            return stage.ok_or_else(|| no_stage(&id));
        }
        let elsewhere = self.desk.waiting_elsewhere(&self.runner, caller, None);
        let mut elsewhere = elsewhere.await.into_iter();
        let stage = elsewhere.find(|stage| stage.id == id.as_str());
        stage.ok_or_else(|| no_stage(&id))
    }

    /// The pool, or the one that it is a variant of, is for the caller.
    pub(in crate::serve) fn may_use(
        &self,
        caller: &Caller,
        pool: &PoolName,
    ) -> Result<(), NotAllowed> {
        caller.may_use_of(&self.desk.pools(), pool)
    }

    /// The stage waits for a machine of a pool of ours.
    pub(in crate::serve) fn waits(&self, stage: &StageId) -> bool {
        let live = self.live();
        let mut waiters = live.iter().flat_map(|pool| &pool.waiters);
        waiters.any(|waiter| waiter.stage == *stage)
    }

    /// The pools that are ours.
    fn live(&self) -> Vec<PoolStatus> {
        let standings = self.runner.status().into_iter();
        standings
            .filter_map(|standing: PoolStanding| standing.status)
            .collect()
    }
}

fn pool_of(name: &str) -> Result<PoolName, Status> {
    let pool = PoolName::parse(name);
    pool.map_err(|error| Status::invalid_argument(format!("pool: {error}")))
}

fn no_stage(id: &StageId) -> Status {
    not_there("UNKNOWN_STAGE", format!("there is no stage {id}"))
}

fn unknown(subject: &str) -> Status {
    let unknown = ExplainError::Unknown {
        subject: subject.to_owned(),
    };
    not_there("UNKNOWN_STAGE", unknown.to_string())
}

/// Who is known by a name can't give himself another.
fn name(caller: &Caller, by: &mut String) {
    if let Some(name) = caller.name() {
        name.clone_into(by);
    }
}

/// What the journal says, if it does in time.
async fn read<T>(reading: impl Future<Output = Result<T, JournalError>>) -> Result<T, Status> {
    let read = timeout(READING, reading).await;
    let read = read.map_err(|_| silent_journal())?;
    read.map_err(|error| Status::unavailable(error.to_string()))
}

fn parse(pool: &str) -> Result<Option<PoolName>, Status> {
    if pool.is_empty() {
        return Ok(None);
    }
    pool_of(pool).map(Some)
}

pub(in crate::serve) fn silent_journal() -> Status {
    Status::unavailable("the journal does not answer")
}
