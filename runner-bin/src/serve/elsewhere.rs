//! Stages that wait for a machine of another runner's pool. Who waits is known
//! to the owner of the pool alone, and the journal has nothing of it: so the
//! owners are asked, all at once, and each has [`PATIENCE`].

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::timeout;
use vmpool_core::journal::JournalError;
use vmpool_core::runner::{PoolOwner, Runner};
use vmpool_core::{PoolName, StageId};
use vmpool_proto::v1;

use super::access::Caller;
use super::call::Call;
use super::desk::Desk;
use super::grpc::withdrawal;
use super::operate;
use super::wire::Answer;
use crate::messages::WAITING;

/// How long one owner may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Desk {
    /// Has a stage that no runner has written down stop waiting, wherever it
    /// does in a pool that is for the caller.
    ///
    /// # Errors
    /// An owner did not answer: ask again.
    pub(super) async fn withdraw(&self, stage: &StageId, caller: &Caller) -> Result<(), Answer> {
        let Some(runner) = self.runner() else {
            // The process after this one has seen to it.
            return Ok(());
        };
        let pools = self.others(&runner, caller);
        if pools.is_empty() {
            return Ok(());
        }
        let unread = |error: JournalError| Answer::later(&error.to_string());
        let written = runner.journal().stage(stage).await.map_err(unread)?;
        if written.is_some() {
            return Ok(());
        }
        let asked = pools
            .iter()
            .map(|pool| self.withdraw_from(pool, stage, caller));
        join_all(asked).await.into_iter().collect()
    }

    /// Has a stage stop waiting in this pool, if it does.
    ///
    /// # Errors
    /// The pool's owner did not answer: ask again.
    pub(super) async fn withdraw_from(
        &self,
        pool: &PoolName,
        stage: &StageId,
        caller: &Caller,
    ) -> Result<(), Answer> {
        let request = withdrawal(pool, stage, caller.clone());
        let call = Call::read(&request)?;
        let why = match timeout(PATIENCE, self.answer_one(&request, &call)).await {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
            Ok(answer) => answer.error(),
            Err(_) => "it does not answer".to_owned(),
        };
        Err(Answer::later(&format!(
            "stage {stage} may wait for a machine of pool {pool}, whose runner can't be asked: {why}"
        )))
    }

    /// Those that wait in pools of other runners, as far as these answer; in one
    /// pool, or in all that are for the caller.
    pub(super) async fn waiting_elsewhere(
        &self,
        runner: &Runner,
        caller: &Caller,
        only: Option<&PoolName>,
    ) -> Vec<v1::Stage> {
        let mut pools = self.others(runner, caller);
        pools.retain(|pool| only.is_none_or(|only| only == pool));
        let told = pools.iter().map(async |pool| {
            let request = v1::StatusRequest {
                pool: pool.to_string(),
            };
            let asked = operate::ask(self, caller, &request);
            let told = timeout(PATIENCE, asked).await.ok()?.ok()?;
            let waits = |waiter: &v1::Waiter| v1::Stage {
                id: waiter.stage_id.clone(),
                pool: pool.to_string(),
                state: WAITING.to_owned(),
                since_unix_ms: waiter.since_unix_ms,
                ..v1::Stage::default()
            };
            Some(told.waiters.iter().map(waits).collect::<Vec<_>>())
        });
        let told = join_all(told).await.into_iter().flatten();
        told.flatten().collect()
    }

    /// The pools of other runners that are for the caller.
    fn others(&self, runner: &Runner, caller: &Caller) -> Vec<PoolName> {
        let file = self.pools();
        let pools = runner.sources().into_iter();
        pools
            .map(|source| source.config.name)
            .filter(|pool| matches!(runner.owner(pool), PoolOwner::Theirs(_)))
            .filter(|pool| caller.may_use_of(&file, pool).is_ok())
            .collect()
    }
}
