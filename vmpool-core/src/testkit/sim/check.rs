//! What is held against the promises when a history is over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::BuildEnd;
use super::history::History;
use super::plan::{BuildPlan, PoolPlan, StepPlan};
use crate::id::{PoolName, StepId};
use crate::journal::{Journal, StepRow};
use crate::step::StepStatus;

/// Calls of the provider within a minute, by all runners and their restarts. About
/// twice the most that was seen in 20 000 histories.
const MOST_CALLS: [(&str, usize); 3] = [("launch", 40), ("list", 64), ("terminate", 48)];

impl History {
    pub(super) async fn check(&self) {
        self.check_machines();
        self.check_rows().await;
        self.check_starts();
        self.check_ends();
        self.check_served().await;
        self.check_calls();
        for build in &self.plan.builds {
            self.check_logs(build).await;
        }
    }

    /// Nothing is alive but what is not ours (P1).
    fn check_machines(&self) {
        let alive = self.world.cloud.alive();
        let ours = alive.iter().filter(|(id, _)| *id != self.foreign);
        for (id, tags) in ours {
            let order = &tags.order;
            self.world
                .trace
                .wrong(format_args!("P1: {id} of {order} is alive after the end"));
        }
        if self.world.cloud.was_ended(&self.foreign) {
            let wrong = format_args!("P1: another deployment's machine was ended");
            self.world.trace.wrong(wrong);
        }
    }

    /// No row is left that is not over (P1), and the ledger has every machine.
    async fn check_rows(&self) {
        let rows = self.world.journal.rows();
        for pool in &self.plan.pools {
            let left = rows
                .pool(&PoolName::new(pool.name))
                .await
                .unwrap_or_default();
            let left = (left.orders.len(), left.machines.len(), left.stages.len());
            if left != (0, 0, 0) {
                self.world.trace.wrong(format_args!(
                    "P1: orders, machines and stages of {} that are not over, with their steps: {left:?}",
                    pool.name
                ));
            }
        }
        for id in self.world.cloud.ever() {
            let known = rows.machine(&id).await.ok().flatten().is_some();
            // Of what was over when the journal was lost, nobody knows any more.
            if id != self.foreign && !known && !self.world.cloud.was_forgotten(&id) {
                self.world
                    .trace
                    .wrong(format_args!("P1: the ledger does not have {id}"));
            }
        }
    }

    /// No step was started twice, on one machine or on two (P4).
    fn check_starts(&self) {
        let mut starts: BTreeMap<StepId, u32> = BTreeMap::new();
        for id in self.world.cloud.ever() {
            for (step, times) in self.world.link.agent(&id).starts() {
                *starts.entry(step.clone()).or_default() += times;
            }
        }
        for (step, times) in starts {
            if times > 1 {
                self.world
                    .trace
                    .wrong(format_args!("P4: {step} was started {times} times"));
            }
        }
    }

    /// The provider was not called more often than a few machines are worth (P8).
    fn check_calls(&self) {
        for (call, most) in MOST_CALLS {
            let calls = self.world.cloud.busiest(call, Duration::from_mins(1));
            if calls > most {
                self.world.trace.wrong(format_args!(
                    "P8: {calls} calls of {call} within a minute, at most {most} are in order"
                ));
            }
        }
    }

    /// No machine was given to two stages (P2).
    async fn check_served(&self) {
        let mut served = BTreeMap::new();
        for build in &self.plan.builds {
            let record = self.world.journal.rows().stage(&build.stage).await;
            let Some(record) = record.ok().flatten() else {
                continue;
            };
            let machine = record.stage.machine.clone();
            if let Some(other) = served.insert(machine.clone(), build.stage.clone()) {
                self.world.trace.wrong(format_args!(
                    "P2: {machine} was given to {other} and to {}",
                    build.stage
                ));
            }
        }
    }

    /// Every build ended well, or for a reason that is one (P3, P4).
    fn check_ends(&self) {
        let calm = self.plan.events.is_empty() && self.plan.mishap.is_none();
        // Where nobody competes for a machine, everybody gets one.
        let fits = |pool: &PoolPlan| {
            let wanted = self.plan.builds.iter().filter(|b| b.pool == pool.name);
            wanted.count() <= usize::try_from(pool.limit).unwrap_or(usize::MAX)
        };
        let enough = self
            .plan
            .pools
            .iter()
            .all(|pool| fits(pool) && !pool.broken);
        for end in &self.ends {
            match end {
                BuildEnd::NoMachine(why) if calm && enough => {
                    self.world
                        .trace
                        .wrong(format_args!("P3: a build got no machine: {why}"));
                }
                BuildEnd::NoMachine(why) if why.is_empty() => {
                    self.world
                        .trace
                        .wrong(format_args!("P3: no machine, and no reason"));
                }
                BuildEnd::Done | BuildEnd::NoMachine(_) | BuildEnd::Vanished => {}
                BuildEnd::Told(machine, why) => {
                    let harmed = machine
                        .as_ref()
                        .is_some_and(|id| self.world.cloud.was_harmed(id));
                    // Who is kept from its machine for too long loses it.
                    let late = !calm && why.contains("over time");
                    if !harmed && !late {
                        self.world.trace.wrong(format_args!(
                            "P4: nothing happened to {machine:?}, and its build is told: {why}"
                        ));
                    }
                }
            }
        }
    }

    /// Logs are exact: whole for steps that ended on living machines, else from
    /// the beginning up to some byte (P4).
    async fn check_logs(&self, build: &BuildPlan) {
        let record = self.world.journal.rows().stage(&build.stage).await;
        let Some(record) = record.ok().flatten() else {
            return;
        };
        let harmed = self.world.cloud.was_harmed(&record.stage.machine);
        for plan in &build.steps {
            let row = record.steps.iter().find(|row| row.id == plan.id);
            self.check_log(build, plan, row.map(AsRef::as_ref), harmed);
        }
    }

    fn check_log(&self, build: &BuildPlan, plan: &StepPlan, row: Option<&StepRow>, harmed: bool) {
        let trace = &self.world.trace;
        let (step, stage) = (&plan.id, &build.stage);
        let file = self.world.logs.of(stage, step);
        let whole = plan.log();
        if !whole.starts_with(&file.bytes) {
            trace.wrong(format_args!("P4: the log of {step} is not what it printed"));
        }
        let Some(row) = row else { return };
        let Some(outcome) = &row.outcome else {
            trace.wrong(format_args!(
                "P4: nothing is known of the end of {step} of {stage}"
            ));
            return;
        };
        let kept = file.bytes.len() as u64;
        let exited = matches!(outcome.status, StepStatus::Exited { .. });
        if exited && outcome.status != plan.status() {
            trace.wrong(format_args!(
                "P4: {step} is said to have ended {:?}",
                outcome.status
            ));
        }
        let lost = matches!(outcome.status, StepStatus::Lost { .. });
        if !lost && file.gap.is_none() && kept != outcome.log_end {
            trace.wrong(format_args!(
                "P4: {kept} bytes of the log of {step} are kept, it has {}",
                outcome.log_end
            ));
        }
        if exited && outcome.log_end != whole.len() as u64 {
            trace.wrong(format_args!(
                "P4: the log of {step} is said to have {} bytes, it printed {}",
                outcome.log_end,
                whole.len()
            ));
        }
        if file.gap.is_some() && !harmed {
            trace.wrong(format_args!("P4: the log of {step} has a gap without need"));
        }
    }
}
