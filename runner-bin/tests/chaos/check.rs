//! What is held against the promises when a round is over.

use std::time::Duration;

use vmpool_core::journal::{Journal, StageRecord};
use vmpool_core::{PoolName, StageId, StepStatus};

use super::caller::BuildEnd;
use super::chronicle::Harmed;
use super::round::Round;
use super::schedule::{BuildPlan, Part};
use super::script::StepPlan;
use super::site::{POOL, Site};

/// More than any round has.
const MOST_MACHINES: usize = 10_000;

/// How a log goes on whose rest is lost.
const GAP: &[u8] = b"\n[vmpool: the rest of this log is lost: ";

/// A machine that was harmed this long before a stage got it should not have been
/// handed out (P6).
const KNOWN_DEAD: Duration = Duration::from_secs(5);

/// Who waits for a machine that was killed is told so within this time: while
/// blows still fall and leases run out, too.
const TOLD_WITHIN: Duration = Duration::from_secs(45);

/// Checks all, and tells the chronicle what is wrong.
pub(crate) async fn all(round: &Round, ends: &[(BuildPlan, BuildEnd)]) {
    nothing_runs(round);
    let journal = match round.site.journal().await {
        Ok(journal) => journal,
        Err(error) => {
            return round
                .chronicle
                .wrong(format_args!("the journal can't be read: {error:#}"));
        }
    };
    everything_is_accounted_for(round, &*journal).await;
    for (plan, end) in ends {
        let stage = StageId::new(plan.stage.as_str());
        match journal.stage(&stage).await {
            Ok(record) => {
                let build = Build {
                    round,
                    plan,
                    end,
                    record: record.as_ref(),
                };
                build.check();
            }
            Err(error) => round
                .chronicle
                .wrong(format_args!("P5: {stage} can't be read: {error}")),
        }
    }
}

/// The rows that are not over, or why they can't be told.
pub(crate) async fn unfinished(site: &Site) -> Vec<String> {
    let rows = async {
        let journal = site.journal().await?;
        anyhow::Ok(journal.pool(&PoolName::new(POOL)).await?)
    };
    let rows = match rows.await {
        Ok(rows) => rows,
        Err(error) => return vec![format!("a journal that can't be read: {error:#}")],
    };
    let orders = rows
        .orders
        .iter()
        .map(|row| format!("order {} {:?}", row.id, row.state));
    let machines = rows.machines.iter();
    let machines = machines.map(|row| format!("machine {} {}: {}", row.id(), row.state, row.cause));
    let stages = rows.stages.iter();
    let stages = stages.map(|row| format!("stage {} {:?}", row.stage.id, row.stage.state));
    orders.chain(machines).chain(stages).collect()
}

/// No process and no disk is left (P1, P10), and no machine had two stages (P2).
fn nothing_runs(round: &Round) {
    let (site, chronicle) = (&round.site, &round.chronicle);
    for (pid, line) in site.processes() {
        chronicle.wrong(format_args!("P1: process {pid} is left: {line}"));
    }
    for disk in site.disks() {
        chronicle.wrong(format_args!("P1: a disk is left: {}", disk.display()));
    }
    for (machine, stages) in site.folders() {
        if stages.len() > 1 {
            chronicle.wrong(format_args!("P2: {machine} served {stages:?}"));
        }
    }
}

/// No row is left that is not over, and the ledger has every machine (P1).
async fn everything_is_accounted_for(round: &Round, journal: &dyn Journal) {
    let chronicle = &round.chronicle;
    for row in unfinished(&round.site).await {
        chronicle.wrong(format_args!("P1: not over: {row}"));
    }
    let ledger = match journal.ledger(None, MOST_MACHINES).await {
        Ok(ledger) => ledger,
        Err(error) => return chronicle.wrong(format_args!("P1: no ledger: {error}")),
    };
    for row in ledger.iter().filter(|row| row.state.occupies_slot()) {
        chronicle.wrong(format_args!(
            "P1: {} is {} in the ledger",
            row.id(),
            row.state
        ));
    }
    for (machine, _) in round.site.folders() {
        if !ledger.iter().any(|row| row.id().as_str() == machine) {
            chronicle.wrong(format_args!("P1: the ledger does not have {machine}"));
        }
    }
}

/// A build that is over.
struct Build<'a> {
    round: &'a Round,
    plan: &'a BuildPlan,
    end: &'a BuildEnd,
    record: Option<&'a StageRecord>,
}

impl BuildEnd {
    /// All of its steps ended by themselves, and it was told so in time.
    pub(crate) fn is_well(&self) -> bool {
        self.told.is_none() && !self.late
    }
}

impl Build<'_> {
    fn check(&self) {
        if self.end.late {
            let patience = self.round.schedule.patience;
            self.wrong(format_args!("P3: not over after {patience:?}"));
        }
        self.check_machine();
        if let Some(told) = &self.end.told {
            self.check_reason(told);
        }
        for (n, step) in self.plan.steps.iter().enumerate() {
            self.check_step(step, self.end.ended.get(n).copied());
        }
    }

    /// The caller's machine is the journal's, and was alive when it was handed out.
    fn check_machine(&self) {
        let Some(record) = self.record else {
            if self.end.machine.is_some() {
                self.wrong(format_args!("P5: it had a machine, and has no row"));
            }
            return;
        };
        let machine = record.stage.machine.as_str();
        if self
            .end
            .machine
            .as_deref()
            .is_some_and(|told| told != machine)
        {
            self.wrong(format_args!(
                "P5: it was told {:?}, and the journal says {machine}",
                self.end.machine
            ));
        }
        // One whose agent was killed is alive again at once.
        if let Some(harmed) = self.harm(|part| part == Part::Supervisor)
            && record.stage.claimed_at.since(harmed.at) > KNOWN_DEAD
        {
            self.wrong(format_args!(
                "P6: it got {machine}, which was dead for long"
            ));
        }
    }

    /// The first harm of this kind that was done to its machine.
    fn harm(&self, kind: impl Fn(Part) -> bool) -> Option<Harmed> {
        let machine = self.record?.stage.machine.as_str();
        let harm = self.round.chronicle.harm_of(machine);
        harm.into_iter().find(|harmed| kind(harmed.part))
    }

    /// Who is told that a build can't go on is told why, and only where it is so
    /// (P3, P4). An agent's death is no reason: it is started again, and its
    /// steps go on under their holders.
    fn check_reason(&self, told: &str) {
        let Some(harmed) = self.harm(|part| part != Part::Agent) else {
            return self.wrong(format_args!(
                "P4: neither a holder nor the supervisor of its machine was killed, and it was \
                 told: {told}"
            ));
        };
        let word = match self.harm(|part| part == Part::Supervisor) {
            Some(_) => "killed",
            None => "its holder was killed",
        };
        let late = self.end.at.since(harmed.at);
        if late > TOLD_WITHIN {
            self.wrong(format_args!("P3: it was told after {late:.1?} only"));
        }
        if !told.contains(word) {
            self.wrong(format_args!(
                "P3: the {:?} of its machine was killed, and it was told: {told}",
                harmed.part
            ));
        }
    }

    fn check_step(&self, step: &StepPlan, answered: Option<i64>) {
        let (stage, id) = (&step.stage, &step.id);
        let is_code = |code: i64| code == i64::from(step.exit_code);
        if let Some(code) = answered.filter(|code| !is_code(*code)) {
            self.wrong(format_args!(
                "P4: {id} ended by {code}, not {}",
                step.exit_code
            ));
        }
        let started = self.round.site.started(stage, id);
        if started > 1 || (answered.is_some() && started == 0) {
            self.wrong(format_args!("P4: {id} was started {started} times"));
        }
        self.check_log(step, answered);
        if answered.is_some() {
            self.check_row(step);
        }
    }

    /// Whole where the step's end was told, else from its beginning up to some byte (P4).
    fn check_log(&self, step: &StepPlan, answered: Option<i64>) {
        let id = &step.id;
        let whole = step.log();
        let Some(log) = self.round.site.log(&step.stage, id) else {
            if answered.is_some() {
                self.wrong(format_args!("P4: {id} has no log"));
            }
            return;
        };
        if answered.is_some() {
            if log != whole {
                self.wrong(format_args!(
                    "P4: the log of {id} {}",
                    difference(&whole, &log)
                ));
            }
            return;
        }
        let kept = log.windows(GAP.len()).position(|window| window == GAP);
        let kept = &log[..kept.unwrap_or(log.len())];
        if !whole.starts_with(kept) {
            self.wrong(format_args!(
                "P4: the log of {id} {}",
                difference(&whole, kept)
            ));
        }
    }

    /// What was answered is what is written down (P5).
    fn check_row(&self, step: &StepPlan) {
        let steps = self
            .record
            .map(|record| record.steps.as_slice())
            .unwrap_or_default();
        let row = steps.iter().find(|row| row.id.as_str() == step.id);
        let status = row
            .and_then(|row| row.outcome.as_ref())
            .map(|end| &end.status);
        let code = i32::from(step.exit_code);
        if status != Some(&StepStatus::Exited { code }) {
            self.wrong(format_args!(
                "P5: {} was answered, and the journal has {status:?}",
                step.id
            ));
        }
    }

    fn wrong(&self, what: std::fmt::Arguments<'_>) {
        let stage = &self.plan.stage;
        self.round.chronicle.wrong(format_args!("{stage}: {what}"));
    }
}

/// Where two logs part.
fn difference(whole: &[u8], log: &[u8]) -> String {
    let at = whole
        .iter()
        .zip(log)
        .take_while(|(one, other)| one == other);
    let at = at.count();
    let shown = |bytes: &[u8]| {
        let end = bytes.len().min(at + 40);
        String::from_utf8_lossy(&bytes[at.saturating_sub(20)..end]).into_owned()
    };
    format!(
        "has {} bytes, not {}; from byte {at} it differs: {:?}, not {:?}",
        log.len(),
        whole.len(),
        shown(log),
        shown(whole)
    )
}
