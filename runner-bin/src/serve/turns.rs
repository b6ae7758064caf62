//! Fallback pools: a setup that one pool can't serve is made in the next one.
//!
//! Each pool may be another runner's, so each turn is a request of its own, the
//! same with `?pool=…&wait_ms=…`, which goes wherever that pool is. The time
//! that the first pool lets its requests wait is the time of all turns, in
//! equal parts, none longer than its pool's own; what a pool leaves over is the
//! next ones'.
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
use super::wire::{Answer, MeantSetup, fields};

/// All turns together, where no pool says how long its requests wait.
const USUAL: Duration = Duration::from_mins(10);

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
        let first = &setup.request.pool;
        let mut pools: Vec<&PoolName> = vec![first];
        for pool in fallbacks {
            if !pools.contains(&pool) {
                pools.push(pool);
            }
        }
        let until = Instant::now() + self.patience(setup, &pools);
        let mut failures = Vec::new();
        for (n, pool) in pools.iter().copied().enumerate() {
            let has = self.has_machine_in(setup, &pools).await;
            let pool = has.unwrap_or(pool);
            let turns = u32::try_from(pools.len() - n).unwrap_or(u32::MAX);
            let share = until.saturating_duration_since(Instant::now()) / turns;
            let turn = Turn {
                pool: pool.clone(),
                wait: self
                    .wait_of(setup, pool)
                    .map_or(share, |wait| wait.min(share)),
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
            if !failed || has.is_some() {
                return answer;
            }
            tracing::info!(%pool, stage = %setup.request.stage, "a pool can't serve a stage");
            failures.push((pool, answer));
        }
        all_failed(&failures)
    }

    /// How long all turns may take: as the first of the pools that there are
    /// lets its requests wait.
    fn patience(&self, setup: &MeantSetup, pools: &[&PoolName]) -> Duration {
        let mut named = pools.iter().filter_map(|pool| self.wait_of(setup, pool));
        setup.request.wait.or_else(|| named.next()).unwrap_or(USUAL)
    }

    /// How long a pool lets its requests wait. `None`: nobody here knows the pool.
    fn wait_of(&self, setup: &MeantSetup, pool: &PoolName) -> Option<Duration> {
        let wanted = Wanted {
            pool: pool.to_string(),
            ..setup.wanted.clone()
        };
        let pools = self.pools();
        let pool = pools.choose(&wanted)?;
        Some(pool.timing.deadlines.acquire.unwrap_or(USUAL))
    }

    /// The one of these pools in which the stage has, or had, its machine.
    async fn has_machine_in<'a>(
        &self,
        setup: &MeantSetup,
        pools: &[&'a PoolName],
    ) -> Option<&'a PoolName> {
        let runner = self.runner()?;
        // An error is told by whoever asks for the machine.
        let has = runner.pool_of(&setup.request.stage).await.ok()??;
        let file = self.pools();
        let base = file.pool(has.as_str()).map(|pool| pool.base.clone());
        let is = |pool: &&&PoolName| **pool == &has || base.as_deref() == Some(pool.as_str());
        pools.iter().find(is).copied()
    }
}

/// One answer for all pools, which says of each why (P3). To ask again is of
/// use if it is for one of them.
fn all_failed(failures: &[(&PoolName, Answer)]) -> Answer {
    let whys = failures.iter().map(|(pool, answer)| {
        let why = answer.error();
        let why = why.strip_prefix(PROVISION).unwrap_or(&why).to_owned();
        format!("{pool}: {why}")
    });
    let whys = whys.collect::<Vec<_>>().join("; ");
    let text = format!("{PROVISION}{whys}");
    let later =
        |(_, answer): &(&PoolName, Answer)| answer.status == StatusCode::SERVICE_UNAVAILABLE;
    if failures.iter().any(later) {
        Answer::later(&text)
    } else {
        Answer::failed(&text)
    }
}
