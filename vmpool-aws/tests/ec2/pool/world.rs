//! A pool as a runner has it, on the real provider and a fake EC2 that
//! throttles and is consistent in the end only. Machines' agents are simulated.
//! All of it runs on tokio's time, which each test pauses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fake_ec2::{
    Birth, Capacity, Config, Control, DEFAULT_ACCOUNT, FakeEc2, Machines, Market, Span, State,
    Timing,
};
use tokio::time::Instant;
use vmpool_aws::account::{Login, keys};
use vmpool_aws::{Ec2Account, Ec2Provider, Template};
use vmpool_core::account::{Account, AccountConfig};
use vmpool_core::journal::MemoryJournal;

use vmpool_core::pool::{AttachError, PoolParts, PoolStatus};
use vmpool_core::stage::StageEvent;
use vmpool_core::testkit::SimLink;
use vmpool_core::{
    AcquireRequest, Clock, Journal as _, Lease, MachineId, Notice, NoticeKind, Pool as _,
    PoolConfig, StageId, Timestamp, WarmPool,
};

use super::wire::Wire;
use crate::support::REGION;

pub(super) const KEY: &str = "AKIAFAKE";
/// What a boot takes.
const BOOT: Duration = Duration::from_secs(20);
/// Longer than the pool needs to recover from anything.
const PATIENCE: Duration = Duration::from_mins(40);

/// An account, and what is left of its runners.
pub(super) struct World {
    pub(super) fake: FakeEc2,
    pub(super) wire: Wire,
    config: aws_config::SdkConfig,
    journal: Arc<MemoryJournal>,
    link: Arc<SimLink>,
    clock: Clock,
    template: Template,
}

impl World {
    pub(super) async fn new(template: Template) -> Self {
        let clock = Clock::system();
        let link = SimLink::new(clock);
        let machines = Arc::new(Agents(link.clone()));
        let config = Config {
            throttling: true,
            timing: Timing {
                // A machine runs at once here, and its agent answers after the boot.
                pending: Span::ZERO,
                ..Timing::real()
            },
            ..Config::default()
        };
        let listen = ([127, 0, 0, 1], 0).into();
        let fake = FakeEc2::start(config, fake_ec2::Clock::tokio(), machines, listen);
        let fake = fake.await.expect("a fake EC2");
        let wire = Wire::new(fake.control().clone());
        let login = Login {
            keys: Some(keys(KEY, "secret", None)),
            region: Some(REGION.to_owned()),
            ..Login::default()
        };
        let account = login.connect().await.into_builder();
        let account = account.endpoint_url("http://ec2.fake");
        Self {
            config: account.http_client(wire.client()).build(),
            fake,
            wire,
            journal: Arc::new(MemoryJournal::new()),
            link,
            clock,
            template,
        }
    }

    pub(super) fn cloud(&self) -> &Control {
        self.fake.control()
    }

    /// The pool of a runner that just started.
    pub(super) async fn pool(&self, warm: u32, limit: u32) -> WarmPool {
        self.pool_of("linux", warm, limit, &self.account()).await
    }

    /// The account, as a runner that just started knows it.
    pub(super) fn account(&self) -> Ec2Account {
        let budget = Account::new(AccountConfig::ec2("test"));
        Ec2Account::new(&self.config, budget, self.clock)
    }

    /// A pool that shares an account with others.
    pub(super) async fn pool_of(
        &self,
        name: &str,
        warm: u32,
        limit: u32,
        account: &Ec2Account,
    ) -> WarmPool {
        let mut config = PoolConfig::new(name, warm, limit);
        config.owner = "ci".into();
        config.deployment = "deployment".into();
        let provider = Ec2Provider::new(account, self.template.clone());
        let parts = PoolParts::new(
            Arc::new(provider),
            self.link.beside(),
            self.journal.clone(),
            self.clock,
        );
        let started = WarmPool::start(config, parts.with_account(account.budget().clone())).await;
        started.expect("the journal is there")
    }

    /// How often EC2 was asked to do `action`.
    pub(super) fn calls(&self, action: &str) -> u64 {
        self.cloud().with(|cloud, _| cloud.record.count(action))
    }

    /// How often EC2 answered that it was asked too much.
    pub(super) fn throttled(&self) -> u64 {
        self.cloud().with(|cloud, _| {
            let counts = cloud.record.counts().iter();
            let throttled = counts.filter(|((_, said), _)| said == "RequestLimitExceeded");
            throttled.map(|(_, count)| count).sum()
        })
    }

    /// No hardware there.
    pub(super) fn short(&self, instance_type: Option<&str>, zone: Option<&str>) {
        self.cloud().with(|cloud, _| {
            let limits = cloud.limits_mut(DEFAULT_ACCOUNT);
            limits
                .capacity
                .push(Capacity::none(instance_type, zone, None::<Market>));
        });
    }

    /// There is hardware everywhere.
    pub(super) fn plenty(&self) {
        self.cloud()
            .with(|cloud, _| cloud.limits_mut(DEFAULT_ACCOUNT).capacity.clear());
    }

    /// The machines that are not over, by EC2's word.
    pub(super) fn alive(&self) -> BTreeSet<String> {
        self.cloud().with(|cloud, _| {
            let instances = cloud.instances().map(|(_, _, instance)| instance);
            let alive = instances.filter(|instance| instance.state != State::Terminated);
            alive.map(|instance| instance.id.clone()).collect()
        })
    }

    /// Waits until the pool is as it should be, and holds it against EC2's own
    /// record and the journal: nothing is leaked (P1), nothing is forgotten,
    /// and there were never more than the limit (P7).
    pub(super) async fn settled(&self, pool: &WarmPool) {
        until(pool, "a full pool", |status| {
            status.ready >= status.warm && coming_or_going(status) == 0
        })
        .await;
        // EC2 may have machines that it has not shown yet.
        tokio::time::sleep(Duration::from_mins(8)).await;
        until(pool, "a full pool", |status| {
            status.ready == status.warm && coming_or_going(status) == 0
        })
        .await;
        let status = pool.status();
        let ids = status.machines.iter().map(|machine| machine.id.to_string());
        let known: BTreeSet<_> = ids.collect();
        assert_eq!(known, self.alive(), "P1: the pool's, and EC2's");
        let rows = self.journal.pool(&status.name).await.expect("rows");
        let rows: BTreeSet<_> = rows.machines.iter().map(|r| r.id().to_string()).collect();
        assert_eq!(known, rows, "P1: the pool's, and the journal's");
        assert!(status.unaccounted.is_empty(), "{:?}", status.unaccounted);
        assert_eq!(status.stopped, None);
        self.within(&status);
    }

    /// Ends the pool, after which nothing of it may be left.
    pub(super) async fn end(self, pool: WarmPool) {
        let by = Instant::now() + PATIENCE * 3;
        while self.cloud().with(|cloud, _| !cloud.templates().is_empty()) {
            // A launch left one: it is outdated after an hour.
            assert!(Instant::now() < by, "P1: a launch template stays");
            tokio::time::sleep(Duration::from_mins(10)).await;
        }
        let limit = pool.status();
        let left = pool.shutdown(PATIENCE).await;
        assert!(left.is_empty(), "{left:?}");
        self.within(&limit);
        assert_eq!(self.alive(), BTreeSet::new());
        self.cloud().with(|cloud, _| {
            assert_eq!(cloud.volumes().count(), 0);
            assert_eq!(cloud.interfaces().count(), 0);
            assert!(
                cloud
                    .spot_requests()
                    .all(|request| request.state != "active")
            );
        });
        self.fake.stop().await;
    }

    /// There were never more machines than the limit (P7).
    pub(super) fn within(&self, status: &PoolStatus) {
        let (most, limit) = (self.wire.most(), status.limit);
        assert!(most <= limit as usize, "P7: {most} of at most {limit}");
    }
}

/// Machines that are neither ready nor somebody's, and slots of orders.
fn coming_or_going(status: &PoolStatus) -> u32 {
    status.booting + status.ordered + status.ending + status.waiting
}

/// Waits until the pool's status is so.
pub(super) async fn until(pool: &WarmPool, what: &str, is: impl Fn(&PoolStatus) -> bool) {
    let by = Instant::now() + PATIENCE;
    while !is(&pool.status()) {
        assert!(Instant::now() < by, "no {what}: {:#?}", pool.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A request that waits no longer than this.
pub(super) fn request(stage: &str, wait: Duration) -> AcquireRequest {
    AcquireRequest {
        wait: Some(wait),
        ..AcquireRequest::new(stage)
    }
}

/// A build's machine, which must come.
pub(super) async fn claim(pool: &WarmPool, stage: &str) -> Lease {
    let wait = Duration::from_mins(10);
    let claimed = pool.acquire(request(stage, wait)).await;
    let lease = claimed.unwrap_or_else(|error| panic!("{stage}: {error:#?}"));
    prepare(pool, lease.stage()).await;
    lease
}

/// The stage's machine is set up: from now on it lasts until it is released.
pub(super) async fn prepare(pool: &WarmPool, stage: &StageId) {
    // A machine that was lost meanwhile has ended it.
    let _ = pool.note(stage, StageEvent::Prepared).await;
}

/// Why a stage is over, as its caller is told.
pub(super) async fn end_of(pool: &WarmPool, stage: &str) -> String {
    let stage = StageId::new(stage);
    let by = Instant::now() + PATIENCE;
    loop {
        match pool.attach(&stage).await {
            Err(AttachError::Over { reason, .. }) => return reason,
            Err(error) => panic!("{error}"),
            Ok(_) => assert!(Instant::now() < by, "{stage} goes on"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Simulated agents on EC2's machines.
struct Agents(Arc<SimLink>);

#[async_trait]
impl Machines for Agents {
    async fn start(&self, birth: Birth, _: &Control) {
        self.0.boot(&MachineId::new(birth.instance), BOOT);
    }

    async fn stop(&self, _: &str, _: bool) {}

    async fn terminate(&self, instance: &str) {
        self.0.kill(&MachineId::new(instance), "its power is off");
    }

    async fn notice(&self, instance: &str, at: jiff::Timestamp) {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
        let notice = Notice {
            kind: NoticeKind::SpotInterruption,
            at: Timestamp(millis - 120_000),
            acts_at: Some(Timestamp(millis)),
            action: "terminate".to_owned(),
        };
        self.0.notice(&MachineId::new(instance), &notice);
    }

    async fn end(&self) {}
}
