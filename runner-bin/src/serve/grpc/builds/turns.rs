//! The pools of one request: the one that it names and those that it falls back
//! on, one after the other.
//!
//! All of them share one time, as over HTTP: the request's, or what the first
//! pool lets its requests wait. Each has an equal part of what is left, and
//! none longer than its pool's own; what one leaves over is the next ones'.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tonic::Status;
use vmpool_core::PoolName;
use vmpool_core::runner::RunnerError;
use vmpool_proto::v1::AcquireRequest;

use super::failure::{Failure, other};
use super::{Builds, READING, request, silent_journal};

/// Pools that one request may fall back on.
const MOST: usize = 16;

/// All turns together, where no pool says how long its requests wait.
const USUAL: Duration = Duration::from_mins(10);

/// Who is asked next, and until when.
#[derive(Debug)]
pub(super) struct Turns {
    /// What is asked of each; its pool is that of the turn.
    request: AcquireRequest,
    /// With how long each lets its requests wait, where that is known.
    pools: VecDeque<(PoolName, Option<Duration>)>,
    /// None: the first pool is the only one, and waits as the request says.
    until: Option<Instant>,
}

impl Turns {
    /// The first pool.
    pub(super) fn first(&self) -> &str {
        let first = self.pools.front();
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
        let mut usual = self.pools.iter().filter_map(|(_, wait)| *wait);
        let patience = named.or_else(|| usual.next()).unwrap_or(USUAL);
        self.until = now.checked_add(patience);
        if let Some(first) = self.next(now) {
            *request = first;
        }
    }

    /// The next pool's request; none: there is no other pool.
    pub(super) fn next(&mut self, now: Instant) -> Option<AcquireRequest> {
        let until = self.until?;
        let turns = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        let (pool, longest) = self.pools.pop_front()?;
        let share = until.saturating_duration_since(now) / turns;
        let share = longest.map_or(share, |longest| longest.min(share));
        Some(AcquireRequest {
            pool: pool.to_string(),
            // Nothing left is a time, too.
            wait_ms: u64::try_from(share.as_millis()).unwrap_or(u64::MAX).max(1),
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
        if further.len() > MOST {
            let why = format!("there are more than {MOST}");
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
            let wait = file.choose(&request::wanted(asked.variant.clone(), pool.to_string()));
            let wait = wait.map(|spec| spec.timing.deadlines.acquire.unwrap_or(USUAL));
            (pool, wait)
        });
        let pools = pools.collect();
        Ok(Turns {
            request: AcquireRequest::default(),
            pools,
            until: None,
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
            let base = file.pool(has.as_str()).map(|spec| spec.base.clone());
            let is = |pool: &&PoolName| **pool == has || base.as_deref() == Some(pool.as_str());
            pools.iter().find(is).cloned()
        }))
    }
}
