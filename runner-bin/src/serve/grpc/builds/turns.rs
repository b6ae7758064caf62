//! The pools of one request: the one that it names and those that it falls back
//! on, one after the other, for as long as their shares of its time last.

use std::mem;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Status;
use vmpool_core::PoolName;
use vmpool_core::runner::RunnerError;
use vmpool_proto::v1::AcquireRequest;

use super::failure::{Failure, other};
use super::{Builds, READING, request, silent_journal};
use crate::serve::shares::{Shares, Waits, wait_of};
use crate::serve::wire::MOST_FALLBACKS;

/// Who is asked next, and until when.
#[derive(Debug)]
pub(super) struct Turns {
    /// What is asked of each; its pool is that of the turn.
    request: AcquireRequest,
    /// Before it begins.
    pools: Vec<Waits>,
    /// None: the first pool is the only one, and waits as the request says.
    shares: Option<Shares>,
}

impl Turns {
    /// The first pool.
    pub(super) fn first(&self) -> &str {
        let first = self.pools.first();
        first.map(|(pool, _)| pool.as_str()).unwrap_or_default()
    }

    /// Begins: makes of the whole request that of the first pool.
    pub(super) fn begin(&mut self, request: &mut AcquireRequest, now: Instant) {
        request.fallback_pools.clear();
        self.request.clone_from(request);
        if self.pools.len() < 2 {
            return;
        }
        let named = (request.wait_ms > 0).then(|| Duration::from_millis(request.wait_ms));
        self.shares = Some(Shares::begin(mem::take(&mut self.pools), named, now));
        if let Some(first) = self.next(now) {
            *request = first;
        }
    }

    /// The next pool's request; none: there is no other pool.
    pub(super) fn next(&mut self, now: Instant) -> Option<AcquireRequest> {
        let (pool, wait) = self.shares.as_mut()?.next(now)?;
        Some(AcquireRequest {
            pool: pool.to_string(),
            // Nothing left is a time, too.
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
            ..self.request.clone()
        })
    }
}

impl Builds {
    /// The pools that a request is to be asked for in, all of which are for the
    /// caller: the one alone in which the stage has its machine already, if it
    /// is one of them (P2, P9).
    ///
    /// # Errors
    /// One is not for the caller, or is no pool's name, or there are too many.
    pub(super) async fn turns(&self, asked: &AcquireRequest) -> Result<Turns, Status> {
        let first = request::pool(&asked.pool)?;
        self.allow(&self.caller, &first)?;
        let further = &asked.fallback_pools;
        if further.len() > MOST_FALLBACKS {
            let why = format!("there are more than {MOST_FALLBACKS}");
            return Err(Failure::field("fallback_pools", why).into());
        }
        let mut pools = vec![first];
        for (n, name) in further.iter().enumerate() {
            let pool = PoolName::parse(name).map_err(|error| {
                Failure::field(format!("fallback_pools[{n}]"), error.to_string())
            })?;
            self.allow(&self.caller, &pool)?;
            if !pools.contains(&pool) {
                pools.push(pool);
            }
        }
        if pools.len() > 1
            && let Some(has) = self.has_machine_in(&asked.stage_id, &pools).await?
        {
            pools = vec![has];
        }
        let file = self.desk.pools();
        let pools = pools.into_iter().map(|pool| {
            let wanted = request::wanted(asked.variant.clone(), pool.to_string());
            let wait = wait_of(&file, &wanted);
            (pool, wait)
        });
        let pools = pools.collect();
        Ok(Turns {
            request: AcquireRequest::default(),
            pools,
            shares: None,
        })
    }

    /// The one of these pools in which the stage has, or had, its machine.
    async fn has_machine_in(
        &self,
        stage: &str,
        pools: &[PoolName],
    ) -> Result<Option<PoolName>, Status> {
        let stage = request::stage(stage)?;
        let has = timeout(READING, self.runner()?.pool_of(&stage)).await;
        let has = has.map_err(|_| silent_journal())?;
        let has = has.map_err(|error| other(RunnerError::from(error)))?;
        let file = self.desk.pools();
        Ok(has.and_then(|has| {
            let is = |pool: &&PoolName| file.is_of(has.as_str(), pool.as_str());
            pools.iter().find(is).cloned()
        }))
    }
}
