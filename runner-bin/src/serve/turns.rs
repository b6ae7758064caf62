//! Fallback pools: a setup that one pool can't serve is made in the next one.
//!
//! Each pool may be another runner's, so each turn is a request of its own, the
//! same with `?pool=…&wait_ms=…`, which goes wherever that pool is, for as long
//! as its share of the request's time lasts.
//!
//! A stage gets one machine, ever (P2): where a retry finds that it has one, in
//! whatever pool, no other pool is asked (P9).

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use vmpool_core::PoolName;
use vmpool_pipeline::Wanted;

use super::call::{Call, Request};
use super::desk::Desk;
use super::shares::{Shares, wait_of};
use super::wire::{Answer, MeantSetup, fields};

/// What begins every failure.
const PROVISION: &str = "could not provision a VM from the pool: ";

/// One pool's turn.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pool: PoolName,
    wait: Duration,
}

impl Turn {
    /// The turn that a query tells of.
    pub(super) fn read(query: &str) -> Option<Self> {
        let fields = fields(query)?;
        Some(Self {
            pool: PoolName::parse(fields.get("pool")?).ok()?,
            wait: Duration::from_millis(fields.get("wait_ms")?.parse().ok()?),
        })
    }

    /// Makes of the whole request that of this turn.
    pub(super) fn narrow(self, setup: &mut MeantSetup) {
        setup.is_fallback = setup.request.pool != self.pool;
        setup.wanted.pool = self.pool.to_string();
        setup.request.pool = self.pool;
        setup.request.wait = Some(self.wait);
        setup.fallbacks = Some(Vec::new());
    }

    fn query(&self) -> String {
        let pool = percent_encoding::utf8_percent_encode(
            self.pool.as_str(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        format!("pool={pool}&wait_ms={}", self.wait.as_millis())
    }
}

impl Desk {
    /// Answers a setup by the first of its pools that can serve it.
    ///
    /// # Cancel safety
    /// As for [`Desk::answer`].
    pub(super) async fn answer_in_turn(
        &self,
        request: &Request,
        setup: &MeantSetup,
        fallbacks: &[PoolName],
    ) -> Answer {
        let mut pools = vec![setup.request.pool.clone()];
        for pool in fallbacks {
            if !pools.contains(pool) {
                pools.push(pool.clone());
            }
        }
        let waits = |pool: &PoolName| {
            let wanted = Wanted {
                pool: pool.to_string(),
                ..setup.wanted.clone()
            };
            (pool.clone(), wait_of(&self.pools(), &wanted))
        };
        let waits = pools.iter().map(waits).collect();
        let mut shares = Shares::begin(waits, setup.request.wait, Instant::now());
        let mut failures = Vec::new();
        while let Some((pool, wait)) = shares.next(Instant::now()) {
            let has = self.has_machine_in(setup, &pools).await;
            let is_there = has.is_some();
            let pool = has.unwrap_or(pool);
            let turn = Turn {
                pool: pool.clone(),
                wait,
            };
            let turn = Request {
                query: turn.query(),
                ..request.clone()
            };
            let answer = match Call::read(&turn) {
                Ok(call) => self.answer_one(&turn, &call).await,
                Err(answer) => answer,
            };
            let failed = answer.status.is_server_error();
            if !failed || is_there {
                return answer;
            }
            tracing::info!(%pool, stage = %setup.request.stage, "a pool can't serve a stage");
            failures.push((pool, answer));
        }
        all_failed(&failures)
    }

    /// The one of these pools in which the stage has, or had, its machine.
    async fn has_machine_in(&self, setup: &MeantSetup, pools: &[PoolName]) -> Option<PoolName> {
        let runner = self.runner()?;
        // An error is told by whoever asks for the machine.
        let has = runner.pool_of(&setup.request.stage).await.ok()??;
        let file = self.pools();
        let is = |pool: &&PoolName| file.is_of(has.as_str(), pool.as_str());
        pools.iter().find(is).cloned()
    }
}

/// One answer for all pools, which says of each why (P3). To ask again is of
/// use if it is for one of them.
fn all_failed(failures: &[(PoolName, Answer)]) -> Answer {
    let whys = failures.iter().map(|(pool, answer)| {
        let why = answer.error();
        let why = why.strip_prefix(PROVISION).unwrap_or(&why).to_owned();
        format!("{pool}: {why}")
    });
    let whys = whys.collect::<Vec<_>>().join("; ");
    let text = format!("{PROVISION}{whys}");
    let later = |(_, answer): &(PoolName, Answer)| answer.status == StatusCode::SERVICE_UNAVAILABLE;
    if failures.iter().any(later) {
        Answer::later(&text)
    } else {
        Answer::failed(&text)
    }
}
