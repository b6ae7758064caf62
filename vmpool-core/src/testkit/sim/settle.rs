//! The end of a history: everything settles, by itself, by a shut-down, or by
//! the machines' clocks and a sweep where all runners are gone.

use std::time::Duration;

use super::client::LASTS;
use super::cloud::WINDOW;
use super::fleet::{DEPLOYMENT, MAX_AGE, OWNER};
use super::history::History;
use super::life::Life;
use super::provider::SimProvider;
use crate::id::{DeploymentId, MachineId, Owner, PoolName};
use crate::journal::Journal;
use crate::machine::MachineState;
use crate::pool::{MachineStatus, PoolStatus};
use crate::provider::{Provider, Tags};
use crate::runner::PoolOwner;
use crate::stage::StageState;
use crate::sweep;

/// And a pool is whole again within this one.
const WHOLE_AGAIN: Duration = Duration::from_mins(40);
/// By then there was another regular pass.
const AUDITED: Duration = Duration::from_secs(75);
/// By then every stage is prepared, or has ended as one that was not in time.
const UNPREPARED: Duration = Duration::from_mins(4);
/// By then a machine is given up that does not answer, also after a restart.
const NOTICED: Duration = Duration::from_mins(5);
/// By then every machine's clocks have run out.
const CLOCKS: Duration = Duration::from_hours(2);

impl History {
    /// Until no stage has a machine, one runner has all the pools, and they are
    /// whole; then they are shut down.
    pub(super) async fn settle(&self) {
        self.check_prepared().await;
        // Stages whose clients are gone end by their deadline. Where the journal
        // was lost, which machines have one is known once they have been heard.
        let patience = LASTS + Duration::from_mins(10);
        let idle = |pool: &PoolStatus| {
            let is_known = |machine: &MachineStatus| machine.state != MachineState::Booting;
            pool.checked_at.is_some() && pool.claimed == 0 && pool.machines.iter().all(is_known)
        };
        self.until("P1", "no stage has a machine", patience, || {
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
        self.until("P1", "the pools are whole", WHOLE_AGAIN, all_whole)
            .await;
        // What no listing has shown yet comes to light by the next regular one.
        tokio::time::sleep(AUDITED).await;
        self.until("P1", "the pools stay whole", WHOLE_AGAIN, all_whole)
            .await;
        self.check_covered().await;
        self.check_ready().await;
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

    async fn until(&self, promise: &str, what: &str, patience: Duration, holds: impl Fn() -> bool) {
        let until = tokio::time::Instant::now() + patience;
        while !holds() {
            if tokio::time::Instant::now() > until {
                let statuses = self.statuses();
                self.world.trace.wrong(format_args!(
                    "{promise}: not within {patience:?} of calm: {what}: {statuses:#?}"
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
                    !matches!(stage.state, StageState::Prepared | StageState::Ended(_))
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

    /// No machine counts as ready for long that is dead (P6).
    async fn check_ready(&self) {
        let is_dead = |machine: &MachineStatus| {
            machine.state == MachineState::Ready && self.world.cloud.dead_for(&machine.id).is_some()
        };
        self.until(
            "P6",
            "no machine counts as ready that is dead",
            NOTICED,
            || {
                let pools = self.statuses();
                pools
                    .is_some_and(|pools| !pools.iter().flat_map(|pool| &pool.machines).any(is_dead))
            },
        )
        .await;
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
