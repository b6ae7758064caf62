//! The runners of a history: each is started, dies, and is started again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::agents::{Line, Steps};
use super::client::LASTS;
use super::journal::SimJournal;
use super::life::{Life, Mishap};
use super::logs::SimLogs;
use super::provider::SimProvider;
use super::world::World;
use crate::account::Account;
use crate::id::{DeploymentId, Owner, RunnerId};
use crate::journal::Holder;
use crate::pool::PoolConfig;
use crate::runner::{LeaseTimes, PoolSource, Runner, RunnerParts, Sharing};
use crate::testkit::SimExecutor;

/// What all machines of a history are tagged with.
pub(super) const OWNER: &str = "simulated";
/// As [`OWNER`].
pub(super) const DEPLOYMENT: &str = "simulation";

/// Machines expire so long after their order.
pub(super) const MAX_AGE: Duration = Duration::from_hours(12);

pub(super) struct Fleet {
    world: Arc<World>,
    pools: Vec<PoolConfig>,
    slots: Vec<Mutex<Slot>>,
    changed: Notify,
}

#[derive(Default)]
struct Slot {
    /// The runner and its life, while it is up.
    up: Option<Up>,
    /// The life that is up or being started.
    life: Option<Arc<Life>>,
    lives: u64,
    /// It is not started again.
    closed: bool,
    mishap: Option<(u64, Mishap)>,
}

/// A runner that is up.
#[derive(Clone)]
pub(super) struct Up {
    pub(super) runner: Runner,
    pub(super) life: Arc<Life>,
}

/// A pool's settings in a simulation.
pub(super) fn pool_config(name: &str, warm: u32, limit: u32) -> PoolConfig {
    let mut config = PoolConfig {
        owner: Owner::new(OWNER),
        deployment: DeploymentId::new(DEPLOYMENT),
        ..PoolConfig::new(name, warm, limit)
    };
    // As long as builds last, for a stage whose own time a lost journal knew.
    config.deadlines.stage = LASTS;
    config.max_age = MAX_AGE;
    config
}

impl Fleet {
    /// Starts so many runners, the first of them with a mishap before it.
    pub(super) fn start(
        world: &Arc<World>,
        pools: Vec<PoolConfig>,
        runners: usize,
        mishap: Option<(u64, Mishap)>,
    ) -> Arc<Self> {
        let fleet = Arc::new(Self {
            world: world.clone(),
            pools,
            slots: (0..runners).map(|_| Mutex::default()).collect(),
            changed: Notify::new(),
        });
        if let Some(first) = fleet.slots.first() {
            first.lock().mishap = mishap;
        }
        for nth in 0..runners {
            let fleet = fleet.clone();
            world.spawn(async move { fleet.keep_up(nth).await });
        }
        fleet
    }

    pub(super) fn size(&self) -> usize {
        self.slots.len()
    }

    /// The runner, if it is up.
    pub(super) fn up(&self, nth: usize) -> Option<Up> {
        self.slots[nth].lock().up.clone()
    }

    /// The life that is up or being started.
    pub(super) fn life(&self, nth: usize) -> Option<Arc<Life>> {
        self.slots[nth].lock().life.clone()
    }

    /// Waits until the runner is up.
    pub(super) async fn wait_up(&self, nth: usize) -> Up {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(up) = self.up(nth) {
                return up;
            }
            changed.await;
        }
    }

    /// Hands over and is started again, unless it is closed.
    pub(super) async fn hand_over(&self, nth: usize) {
        let Some(up) = self.up(nth) else { return };
        self.world
            .trace
            .say(format_args!("{} hands over", up.life.name()));
        let patience = Duration::from_mins(2);
        let handed = async {
            tokio::select! {
                biased;
                () = up.life.died() => {}
                () = up.runner.hand_over() => {}
            }
        };
        let in_time = tokio::time::timeout(patience, handed).await.is_ok();
        if !in_time && !up.life.was_stopped() && !self.world.journal.is_away() {
            let name = up.life.name();
            self.world.trace.wrong(format_args!(
                "P4: {name} does not hand over within {patience:?}"
            ));
        }
        up.life.die();
    }

    /// The runner is not started again when it ends.
    pub(super) fn close(&self, nth: usize) {
        self.slots[nth].lock().closed = true;
    }

    /// A runner that was closed and has ended is started again after all.
    pub(super) fn reopen(self: &Arc<Self>, nth: usize) {
        self.slots[nth].lock().closed = false;
        let fleet = self.clone();
        self.world.spawn(async move { fleet.keep_up(nth).await });
    }

    async fn keep_up(&self, nth: usize) {
        loop {
            let life = {
                let mut slot = self.slots[nth].lock();
                if slot.closed {
                    return;
                }
                slot.lives += 1;
                let name = format!("runner-{nth}.{}", slot.lives);
                let life = Life::new(name, self.world.trace.clone());
                if let Some((at, mishap)) = slot.mishap.take() {
                    life.plan(at, mishap);
                }
                slot.life = Some(life.clone());
                life
            };
            self.live(nth, &life).await;
            self.slots[nth].lock().life = None;
            self.world.journal.crash(&self.world, &life).await;
            self.world.logs.crash(&self.world, &life);
            let down = Duration::from_millis(100);
            let most = Duration::from_secs(if self.world.dice.chance(20) { 60 } else { 5 });
            tokio::time::sleep(self.world.dice.span(down, most)).await;
        }
    }

    /// From start to death.
    async fn live(&self, nth: usize, life: &Arc<Life>) {
        self.world.trace.say(format_args!("{} starts", life.name()));
        let (parts, sources) = self.parts(nth, life);
        let started = tokio::select! {
            biased;
            () = life.died() => return,
            started = Runner::start(parts, sources) => started,
        };
        match started {
            Ok(runner) => {
                let life = life.clone();
                self.slots[nth].lock().up = Some(Up { runner, life });
                self.changed.notify_waiters();
            }
            Err(error) => {
                let error = chain(&error);
                self.world
                    .trace
                    .say(format_args!("{} does not start: {error}", life.name()));
                life.die();
            }
        }
        life.died().await;
        // Its tasks end with its last handle.
        drop(self.slots[nth].lock().up.take());
    }

    fn parts(&self, nth: usize, life: &Arc<Life>) -> (RunnerParts, Vec<PoolSource>) {
        let (world, life) = (self.world.clone(), life.clone());
        let link = world.link.beside();
        let holder = Holder {
            runner: RunnerId::new(format!("runner-{nth}")),
            url: format!("sim://runner-{nth}").into(),
        };
        let sharing = if self.slots.len() > 1 {
            Sharing::Shared(LeaseTimes::default())
        } else {
            Sharing::Alone
        };
        let provider = SimProvider::new(&world, &life, false);
        let account = Account::default();
        let sources = self.pools.iter().map(|config| PoolSource {
            config: config.clone(),
            provider: provider.clone(),
            account: account.clone(),
        });
        let sources = sources.collect();
        let parts = RunnerParts {
            journal: Arc::new(SimJournal {
                world: world.clone(),
                life: life.clone(),
            }),
            executor: Arc::new(Steps {
                world: world.clone(),
                life: life.clone(),
                executor: SimExecutor::new(&link),
            }),
            logs: Arc::new(SimLogs {
                world: world.clone(),
                life: life.clone(),
            }),
            clock: world.clock,
            link: Arc::new(Line { world, life, link }),
            holder,
            sharing,
        };
        (parts, sources)
    }
}

/// An error with all that caused it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
