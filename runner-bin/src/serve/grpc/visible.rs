//! What a caller of `vmpool.v1` may see, and how it is read.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use vmpool_core::explain::{ExplainError, Moment};
use vmpool_core::journal::JournalError;
use vmpool_core::pool::PoolStatus;
use vmpool_core::runner::{PoolOwner, PoolStanding};
use vmpool_core::{Clock, PoolName, StageId};
use vmpool_proto::v1;

use super::service::{Service, moved};
use crate::messages;
use crate::serve::access::{Caller, NotAllowed, not_there};
use crate::serve::operate;

/// How long the journal may take to be read for one answer.
pub(in crate::serve) const READING: Duration = Duration::from_secs(30);

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
    pub(super) fn pool(&self, name: &str, caller: &Caller) -> Result<Option<PoolName>, Status> {
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
    pub(super) async fn may_ask_about(&self, subject: &str, caller: &Caller) -> Result<(), Status> {
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
    pub(super) async fn fares(&self, subject: &str, live: &[PoolStatus]) -> Option<Moment> {
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
    pub(super) async fn stage(&self, caller: &Caller, id: &str) -> Result<v1::Stage, Status> {
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
    pub(super) fn live(&self) -> Vec<PoolStatus> {
        let standings = self.runner.status().into_iter();
        standings
            .filter_map(|standing: PoolStanding| standing.status)
            .collect()
    }
}

pub(super) fn pool_of(name: &str) -> Result<PoolName, Status> {
    let pool = PoolName::parse(name);
    pool.map_err(|error| Status::invalid_argument(format!("pool: {error}")))
}

pub(super) fn no_stage(id: &StageId) -> Status {
    not_there("UNKNOWN_STAGE", format!("there is no stage {id}"))
}

pub(super) fn unknown(subject: &str) -> Status {
    let unknown = ExplainError::Unknown {
        subject: subject.to_owned(),
    };
    not_there("UNKNOWN_STAGE", unknown.to_string())
}

/// What the journal says, if it does in time.
pub(super) async fn read<T>(
    reading: impl Future<Output = Result<T, JournalError>>,
) -> Result<T, Status> {
    let read = timeout(READING, reading).await;
    let read = read.map_err(|_| silent_journal())?;
    read.map_err(|error| Status::unavailable(error.to_string()))
}

pub(super) fn parse(pool: &str) -> Result<Option<PoolName>, Status> {
    if pool.is_empty() {
        return Ok(None);
    }
    pool_of(pool).map(Some)
}

pub(in crate::serve) fn silent_journal() -> Status {
    Status::unavailable("the journal does not answer")
}
