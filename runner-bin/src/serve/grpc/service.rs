//! The calls of `vmpool.v1`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use vmpool_core::explain::{ExplainError, Moment, explain};
use vmpool_core::ledger::Ledger;
use vmpool_core::pool::PoolStatus;
use vmpool_core::runner::{PoolStanding, Runner};
use vmpool_core::sweep::{Question, sweep};
use vmpool_core::{Clock, DeploymentId, Owner, PoolName, RunnerId, StageId};
use vmpool_proto::v1;
use vmpool_proto::v1::runner_server;

use super::ledger::{Lines, lines, unchecked};
use super::watch::{Statuses, statuses};
use crate::messages;
use crate::serve::access::Caller;

/// How long the journal may take to be read for one answer.
pub(super) const READING: Duration = Duration::from_secs(30);

/// Answers tools for one runner, as long as it has its pools.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Service {
    pub(in crate::serve) runner: Runner,
    pub(in crate::serve) id: RunnerId,
    pub(in crate::serve) owner: Owner,
    pub(in crate::serve) deployment: DeploymentId,
    /// Cancelled when the runner gives its pools up.
    pub(in crate::serve) leaving: CancellationToken,
}

/// The runner is left: whoever asks should ask the next one.
pub(super) fn moved() -> Status {
    Status::unavailable("the runner hands over or stops: connect again")
}

#[tonic::async_trait]
impl runner_server::Runner for Service {
    type WatchStream = Statuses;
    type LedgerStream = Lines;

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let caller = Caller::of(request.extensions());
        let pool = self.pool(&request.into_inner().pool, &caller)?;
        Ok(Response::new(self.pools(pool.as_ref(), &caller)?))
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
        let live = self.live();
        let told = timeout(READING, explain(&**journal, &subject, now, &live)).await;
        let told = told.map_err(|_| silent_journal())?;
        let mut story = told.map_err(|error| {
            let code = match error {
                ExplainError::BadId { .. } => Code::InvalidArgument,
                ExplainError::Unknown { .. } => Code::NotFound,
                _ => Code::Unavailable,
            };
            Status::new(code, format!("{:#}", anyhow::Error::new(error)))
        })?;
        story.moments.extend(self.fares(&subject, &live).await);
        Ok(Response::new(messages::story(story)))
    }

    async fn ledger(&self, request: Request<v1::LedgerRequest>) -> Result<Response<Lines>, Status> {
        let caller = Caller::of(request.extensions());
        let pool = parse(&request.into_inner().pool)?;
        match &pool {
            Some(pool) => caller.may_use(pool)?,
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
        let standings = self.runner.status().into_iter();
        let wanted = standings
            .filter(|standing| pool.is_none_or(|name| standing.name == *name))
            .filter(|standing| caller.may_use(&standing.name).is_ok());
        let pools: Vec<_> = wanted.map(messages::standing).collect();
        if let (Some(pool), true) = (pool, pools.is_empty()) {
            return Err(Status::not_found(format!("there is no pool {pool} here")));
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

    /// The pool of this name, which must be known here; none: all.
    fn pool(&self, name: &str, caller: &Caller) -> Result<Option<PoolName>, Status> {
        let pool = parse(name)?;
        match &pool {
            Some(name) => {
                caller.may_use(name)?;
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
        if pool.is_some_and(|pool| caller.may_use(&pool).is_ok()) {
            return Ok(());
        }
        let unknown = ExplainError::Unknown {
            subject: subject.to_owned(),
        };
        Err(Status::not_found(unknown.to_string()))
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

    /// The pools that are ours.
    fn live(&self) -> Vec<PoolStatus> {
        let standings = self.runner.status().into_iter();
        standings
            .filter_map(|standing: PoolStanding| standing.status)
            .collect()
    }
}

fn parse(pool: &str) -> Result<Option<PoolName>, Status> {
    if pool.is_empty() {
        return Ok(None);
    }
    let parsed = PoolName::parse(pool);
    parsed
        .map(Some)
        .map_err(|error| Status::invalid_argument(format!("pool: {error}")))
}

pub(super) fn silent_journal() -> Status {
    Status::unavailable("the journal does not answer")
}
