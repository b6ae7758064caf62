//! Plays a plan: starts the world and its runners, lets happen what shall
//! happen, then lets everything settle and looks at what is left.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};

use super::client::{BuildEnd, Client, LASTS};
use super::cloud::{NOTICE, WINDOW};
use super::fleet::{DEPLOYMENT, Fleet, MAX_AGE, OWNER, pool_config};
use super::life::{Life, Mishap};
use super::plan::{Happening, Plan};
use super::provider::SimProvider;
use super::trace::Told;
use super::weather::Weather;
use super::world::World;
use crate::id::{Attempt, DeploymentId, MachineId, OrderId, Owner, PoolName, counted};
use crate::journal::Journal;
use crate::machine::MachineState;
use crate::notice::NoticeKind;
use crate::pool::{MachineStatus, PoolStatus};
use crate::provider::{Provider, Tags};
use crate::runner::PoolOwner;
use crate::stage::StageState;
use crate::sweep;

/// In fair weather every build ends within this time: a stage's longest life
/// and all the deadlines on its way.
const ALL_END: Duration = Duration::from_hours(3);
/// And a pool is whole again within this one.
const WHOLE_AGAIN: Duration = Duration::from_mins(40);
/// By then there was another regular pass.
const AUDITED: Duration = Duration::from_secs(75);
/// By then every stage is prepared, or has ended as one that was not in time.
const UNPREPARED: Duration = Duration::from_mins(4);
/// By then every machine's clocks have run out.
const CLOCKS: Duration = Duration::from_hours(2);

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

    /// Until no stage has a machine, one runner has all the pools, and they are
    /// whole; then they are shut down.
    async fn settle(&self) {
        self.check_prepared().await;
        // Stages whose clients are gone end by their deadline. Where the journal
        // was lost, which machines have one is known once they have been heard.
        let patience = LASTS + Duration::from_mins(10);
        let idle = |pool: &PoolStatus| {
            let is_known = |machine: &MachineStatus| machine.state != MachineState::Booting;
            pool.checked_at.is_some() && pool.claimed == 0 && pool.machines.iter().all(is_known)
        };
        self.until("no stage has a machine", patience, || {
            let pools = self.statuses();
            pools.is_some_and(|pools| pools.iter().all(idle))
        })
        .await;
        for nth in 1..self.fleet.size() {
            self.fleet.close(nth);
            self.fleet.hand_over(nth).await;
        }
        if self.plan.abandoned {
            self.abandon().await;
        }
        let whole = |status: &PoolStatus| {
            let settled = status.ordered + status.booting + status.claimed + status.ending == 0;
            let broken = self.world.cloud.is_broken(&status.name);
            let wanted = if broken { 0 } else { status.warm };
            settled && status.waiting == 0 && status.ready == wanted.min(status.limit)
        };
        let all_whole = || {
            let first = self.fleet.up(0).map(|up| up.runner.status());
            first.is_some_and(|pools| {
                pools
                    .iter()
                    .all(|pool| pool.status.as_ref().is_some_and(whole))
            })
        };
        self.until("the pools are whole", WHOLE_AGAIN, all_whole)
            .await;
        // What no listing has shown yet comes to light by the next regular one.
        tokio::time::sleep(AUDITED).await;
        self.until("the pools stay whole", WHOLE_AGAIN, all_whole)
            .await;
        self.check_covered().await;
        self.check_ready();
        let Some(up) = self.fleet.up(0) else {
            self.world
                .trace
                .wrong(format_args!("P4: the runner is not up"));
            return;
        };
        self.world.trace.say(format_args!("all pools shut down"));
        let left = up.runner.shutdown(Duration::from_mins(20)).await;
        if !left.is_empty() {
            self.world
                .trace
                .wrong(format_args!("P1: a shut-down left something: {left:?}"));
        }
    }

    /// The last runner ends too, and nobody comes back for days: what is left
    /// ends itself by its clocks, or is ended by a sweep once it has expired (P1).
    async fn abandon(&self) {
        let world = &self.world;
        world.trace.say(format_args!("all is abandoned"));
        self.fleet.close(0);
        if let Some(life) = self.fleet.life(0) {
            life.die();
        }
        tokio::time::sleep(CLOCKS).await;
        for (id, _) in self.ours() {
            if !world.cloud.was_killed(&id) {
                let wrong = format_args!("P1: {id} is alive, and its clocks have run out");
                world.trace.wrong(wrong);
            }
        }
        let early = self.sweep().await;
        if early > 0 {
            let wrong = format_args!("P1: {early} machines are swept before they expire");
            world.trace.wrong(wrong);
        }
        tokio::time::sleep(MAX_AGE).await;
        let swept = self.sweep().await;
        world.trace.say(format_args!("{swept} machines are swept"));
        tokio::time::sleep(WINDOW * 4).await;
        for (id, _) in self.ours() {
            let wrong = format_args!("P1: {id} is alive after the sweep");
            world.trace.wrong(wrong);
        }
        self.fleet.reopen(0);
        self.fleet.wait_up(0).await;
    }

    /// Ends what is expired, by the provider's word alone; how much that was.
    async fn sweep(&self) -> usize {
        let life = Life::new("a person".to_owned(), self.world.trace.clone());
        let provider = SimProvider::new(&self.world, &life, true);
        let (owner, ours) = (Owner::new(OWNER), DeploymentId::new(DEPLOYMENT));
        let Ok(listing) = provider.list(&owner).await else {
            return 0;
        };
        let question = sweep::Question {
            owner: &owner,
            ours: Some(&ours),
            named: None,
            now: self.world.clock.now(),
        };
        let plan = sweep::plan(&listing.machines, &question);
        sweep::carry_out(&*provider, plan.end).await.len()
    }

    /// Machines of ours that are alive.
    fn ours(&self) -> Vec<(MachineId, Tags)> {
        let mut alive = self.world.cloud.alive();
        alive.retain(|(_, tags)| tags.deployment.as_str() == DEPLOYMENT);
        alive
    }

    /// Each pool as its owner sees it, if all have one.
    fn statuses(&self) -> Option<Vec<PoolStatus>> {
        let mut found = Vec::new();
        for pool in &self.plan.pools {
            let owned = (0..self.fleet.size())
                .filter_map(|nth| self.fleet.up(nth))
                .flat_map(|up| up.runner.status())
                .find(|standing| {
                    standing.name.as_str() == pool.name && standing.owner == PoolOwner::Ours
                });
            found.push(owned?.status?);
        }
        Some(found)
    }

    async fn until(&self, what: &str, patience: Duration, holds: impl Fn() -> bool) {
        let until = tokio::time::Instant::now() + patience;
        while !holds() {
            if tokio::time::Instant::now() > until {
                let statuses = self.statuses();
                self.world.trace.wrong(format_args!(
                    "P1: not within {patience:?} of calm: {what}: {statuses:#?}"
                ));
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// No stage has a machine for longer than it may take to prepare it, and is
    /// not prepared (P3).
    async fn check_prepared(&self) {
        let until = tokio::time::Instant::now() + UNPREPARED;
        loop {
            let mut unprepared = None;
            let rows = self.world.journal.rows();
            for pool in &self.plan.pools {
                let found = rows.pool(&PoolName::new(pool.name)).await;
                let stages = found.unwrap_or_default().stages.into_iter();
                let mut waits = stages.map(|record| record.stage).filter(|stage| {
                    matches!(stage.state, StageState::Claimed | StageState::Preparing)
                });
                unprepared = unprepared.or_else(|| waits.next());
            }
            let Some(stage) = unprepared else {
                return;
            };
            if tokio::time::Instant::now() > until {
                let (id, state) = (&stage.id, stage.state.as_str());
                self.world.trace.wrong(format_args!(
                    "P3: {id} is {state} and not prepared after {UNPREPARED:?} of calm"
                ));
                return;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// No machine counts as ready that is dead (P6).
    fn check_ready(&self) {
        let pools = self.statuses().unwrap_or_default();
        let machines = pools.iter().flat_map(|pool| &pool.machines);
        for machine in machines.filter(|machine| machine.state == MachineState::Ready) {
            let dead_for = self.world.cloud.dead_for(&machine.id);
            if let Some(span) = dead_for.filter(|span| *span > AUDITED) {
                let id = &machine.id;
                self.world.trace.wrong(format_args!(
                    "P6: {id} counts as ready, and is dead for {span:?}"
                ));
            }
        }
    }

    /// No machine is alive that no living row covers (P1).
    async fn check_covered(&self) {
        for (id, tags) in self.world.cloud.alive() {
            if id == self.foreign {
                continue;
            }
            let rows = self.world.journal.rows();
            let row = rows.machine(&id).await.ok().flatten();
            if !row.is_some_and(|row| row.state.occupies_slot()) {
                let order = &tags.order;
                self.world.trace.wrong(format_args!(
                    "P1: {id} of {order} is alive, and no row covers it"
                ));
            }
        }
    }
}
