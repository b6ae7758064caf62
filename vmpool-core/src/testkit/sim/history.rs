//! Plays a plan: starts the world and its runners, lets happen what shall
//! happen, then lets everything settle and looks at what is left.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};

use super::client::{BuildEnd, Client};
use super::cloud::NOTICE;
use super::fleet::{DEPLOYMENT, Fleet, OWNER, pool_config};
use super::life::Mishap;
use super::plan::{Happening, Plan};
use super::trace::Told;
use super::weather::Weather;
use super::world::World;
use crate::id::{Attempt, DeploymentId, MachineId, OrderId, Owner, PoolName, counted};
use crate::notice::NoticeKind;
use crate::provider::Tags;

/// In fair weather every build ends within this time: a stage's longest life
/// and all the deadlines on its way.
const ALL_END: Duration = Duration::from_hours(3);

/// What a history came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// What happened, and what was wrong.
    pub told: Told,
    /// Builds whose steps all ended as they should.
    pub done: usize,
    /// Builds that got no machine, were told of their machine's end, or whose client went away.
    pub other: usize,
    /// Calls of the first runner's first life to the world.
    pub calls: u64,
    /// Most calls of the provider within a minute: launches, listings, terminations.
    pub busiest: [usize; 3],
}

impl Report {
    /// Every promise was kept.
    pub fn is_good(&self) -> bool {
        self.told.wrong.is_empty()
    }
}

/// Plays a plan to its end, on a runtime of its own with its own time.
///
/// # Panics
/// No runtime can be made, or this thread runs in one already.
pub fn play(plan: &Plan, keep_all: bool) -> Report {
    let _counted = counted::begin();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let local = LocalSet::new();
    let report = local.block_on(&runtime, History::play(plan, keep_all));
    // What still runs holds the runtime, and ends with it.
    drop(local);
    report
}

pub(super) struct History {
    pub(super) plan: Plan,
    pub(super) world: Arc<World>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) ends: Vec<BuildEnd>,
    /// A machine of another deployment of our name.
    pub(super) foreign: MachineId,
}

impl History {
    async fn play(plan: &Plan, keep_all: bool) -> Report {
        let world = World::new(plan.seed, plan.clocks, keep_all);
        let pools = plan.pools.iter().map(|pool| {
            let name = PoolName::new(pool.name);
            world.cloud.limit(&name, pool.limit);
            if pool.broken {
                world.cloud.break_pool(&name);
            }
            pool_config(pool.name, pool.warm, pool.limit)
        });
        let pools = pools.collect();
        let foreign = world.cloud.start_foreign(Tags {
            owner: Owner::new(OWNER),
            deployment: DeploymentId::new("another"),
            pool: PoolName::new("theirs"),
            order: OrderId::new("their-order"),
            attempt: Attempt(1),
            expires_at: world.clock.now().after(Duration::from_hours(1)),
        });
        let fleet = Fleet::start(&world, pools, plan.runners, plan.mishap);
        let first = fleet.life(0);
        let mut history = Self {
            plan: plan.clone(),
            world,
            fleet,
            ends: Vec::new(),
            foreign,
        };
        history.builds().await;
        let calls = first
            .or_else(|| history.fleet.life(0))
            .map_or(0, |life| life.calls());
        history.settle().await;
        history.check().await;
        let done = history.ends.iter().filter(|end| **end == BuildEnd::Done);
        let done = done.count();
        let busiest = ["launch", "list", "terminate"]
            .map(|call| history.world.cloud.busiest(call, Duration::from_mins(1)));
        Report {
            told: history.world.trace.told(),
            done,
            other: history.ends.len() - done,
            calls,
            busiest,
        }
    }

    /// All builds, with all that happens meanwhile; then those that are left,
    /// in fair weather.
    async fn builds(&mut self) {
        let mut clients = JoinSet::new();
        for build in &self.plan.builds {
            let client = Client {
                world: self.world.clone(),
                fleet: self.fleet.clone(),
                build: build.clone(),
            };
            clients.spawn_local(client.run());
        }
        let ends = Rc::new(std::cell::RefCell::new(Vec::new()));
        let all = {
            let ends = ends.clone();
            async move {
                while let Some(end) = clients.join_next().await {
                    if let Ok(end) = end {
                        ends.borrow_mut().push(end);
                    }
                }
            }
        };
        let mut all = std::pin::pin!(all);
        let over = tokio::select! {
            biased;
            () = self.happenings() => false,
            // What is left to happen, happens to nobody.
            () = all.as_mut() => true,
        };
        self.calm().await;
        if !over && tokio::time::timeout(ALL_END, all).await.is_err() {
            self.world.trace.wrong(format_args!(
                "P3: only {} of {} builds ended within {ALL_END:?} of fair weather",
                ends.borrow().len(),
                self.plan.builds.len()
            ));
        }
        self.ends = ends.take();
    }

    async fn happenings(&self) {
        let begun = tokio::time::Instant::now();
        let mut stops = JoinSet::new();
        for (at, happening) in self.plan.events.clone() {
            tokio::time::sleep_until(begun + at).await;
            self.world.trace.say(format_args!("{happening:?}"));
            self.happen(happening, &mut stops);
        }
        while stops.join_next().await.is_some() {}
    }

    fn happen(&self, happening: Happening, stops: &mut JoinSet<()>) {
        let world = &self.world;
        match happening {
            Happening::Crash {
                runner,
                calls,
                side,
            } => {
                if let Some(life) = self.fleet.life(runner) {
                    life.plan(life.calls() + calls, Mishap::Crash(side));
                    stops.spawn_local(async move {
                        // It may have nothing to do that it could die at.
                        tokio::time::sleep(Duration::from_mins(1)).await;
                        life.die();
                    });
                }
            }
            Happening::Stop {
                runner,
                calls,
                span,
            } => {
                if let Some(life) = self.fleet.life(runner) {
                    life.plan(life.calls() + calls, Mishap::Stop);
                    let patience = Duration::from_mins(1);
                    stops.spawn_local(async move { life.stop_for(patience, span).await });
                }
            }
            Happening::HandOver { runner } => {
                // Begun, it goes to its end, also when all builds are over.
                let fleet = self.fleet.clone();
                world.spawn(async move { fleet.hand_over(runner).await });
            }
            Happening::JournalAway(span) => world.journal.away(span),
            Happening::LoseJournal => {
                for nth in 0..self.fleet.size() {
                    if let Some(life) = self.fleet.life(nth) {
                        life.die();
                    }
                }
                world.journal.lose();
                world.cloud.forget();
            }
            Happening::RoughWeather => world.set_weather(Weather::rough(&world.dice)),
            Happening::FairWeather => world.set_weather(Weather::fair()),
            Happening::Reclaim => {
                if let Some(id) = self.some_machine() {
                    world.cloud.lose(&id, "the provider took it back");
                }
            }
            Happening::ReclaimWithNotice => {
                if let Some(id) = self.some_machine() {
                    world.cloud.notice(&id, NoticeKind::SpotInterruption);
                    let world = world.clone();
                    stops.spawn_local(async move {
                        tokio::time::sleep(NOTICE).await;
                        world
                            .cloud
                            .lose(&id, "the provider took it back, as it had said");
                    });
                }
            }
            Happening::Recommend => {
                if let Some(id) = self.some_machine() {
                    world.cloud.notice(&id, NoticeKind::Rebalance);
                }
            }
            Happening::KillAgent => {
                if let Some(id) = self.some_machine() {
                    world.cloud.kill(&id);
                }
            }
            Happening::HangMachine(span) => {
                if let Some(id) = self.some_machine() {
                    if span > Duration::from_mins(1) {
                        world.cloud.harm(&id);
                    }
                    world.cloud.hang(&id, true);
                    let world = world.clone();
                    stops.spawn_local(async move {
                        tokio::time::sleep(span).await;
                        world.cloud.hang(&id, false);
                    });
                }
            }
            Happening::RestartAgent => {
                if let Some(id) = self.some_machine() {
                    world.trace.say(format_args!("the agent of {id} restarts"));
                    world.link.restart_agent(&id);
                }
            }
            Happening::BreakAtClaim => world.break_at_claim(),
            Happening::SpoilNext => world.cloud.spoil_next(),
            Happening::BreakConnections => {
                if let Some(id) = self.some_machine() {
                    world.link.lose(&id, "connection reset");
                }
            }
        }
    }

    fn some_machine(&self) -> Option<MachineId> {
        let alive = self.world.cloud.alive();
        let ours: Vec<usize> = (0..alive.len())
            .filter(|nth| alive[*nth].1.deployment.as_str() == DEPLOYMENT)
            .collect();
        let nth = self.world.dice.pick(&ours)?;
        Some(alive[nth].0.clone())
    }

    /// Nothing goes wrong any more.
    async fn calm(&self) {
        self.world.trace.say(format_args!("all is calm"));
        self.world.set_weather(Weather::fair());
        self.world.journal.away(Duration::ZERO);
        for id in self.world.cloud.ever() {
            self.world.cloud.hang(&id, false);
        }
        for nth in 0..self.fleet.size() {
            if let Some(life) = self.fleet.life(nth) {
                life.calm();
            }
            self.fleet.wait_up(nth).await.life.calm();
        }
    }
}
