//! What is true of every journal at every moment, heard entry by entry:
//!
//! - the columns beside a row say what the row says;
//! - a claimed machine and a stage that goes on name each other (P2); one that
//!   waits for its next machine is named by none;
//! - a step has its stage, and what is not over has its pool;
//! - no row is behind its events, and events are numbered upwards;
//! - a pool's slots are within its limit, where that is known (P7).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::de::DeserializeOwned;
use vmpool_core::journal::{Event, MachineRow, OrderRow, Row, RowKey, StageRow, StepRow};
use vmpool_core::machine::MachineState;
use vmpool_core::{MachineId, StageId, Version};
use vmpool_store::{Entry, RowEntry, RowKind};

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) pools: u64,
    pub(super) orders: u64,
    pub(super) machines: u64,
    pub(super) stages: u64,
    pub(super) steps: u64,
    pub(super) events: u64,
    /// Slots that are occupied, a pool.
    pub(super) slots: BTreeMap<String, u32>,
}

/// Hears the entries of one journal, in their order.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    counts: Counts,
    wrong: Vec<String>,
    pools: HashSet<String>,
    versions: HashMap<RowKey, Version>,
    /// What each machine says of its stage.
    machines: HashMap<MachineId, (MachineState, Option<StageId>)>,
    /// The machines of stages that go on.
    going_on: HashMap<StageId, MachineId>,
    last_event: u64,
}

impl Invariants {
    pub(super) fn hear(&mut self, entry: &Entry) {
        match entry {
            Entry::Pool(pool) => {
                self.counts.pools += 1;
                self.pools.insert(pool.name.as_str().to_owned());
            }
            Entry::Row(row) => self.row(row),
            Entry::Event(event) => self.event(event),
        }
    }

    /// What was heard, and all that is wrong with it.
    pub(super) fn end(mut self, limits: &BTreeMap<String, u32>) -> (Counts, Vec<String>) {
        for (stage, machine) in &self.going_on {
            let wrong = match self.machines.get(machine) {
                None => "which is not in the journal".to_owned(),
                Some((MachineState::Gone | MachineState::Lost, _)) => "which is over".to_owned(),
                Some((_, Some(has))) if has == stage => continue,
                Some((_, Some(has))) => format!("which has stage {has}"),
                Some((_, None)) => "which has no stage".to_owned(),
            };
            self.wrong.push(format!(
                "stage {stage} goes on at machine {machine}, {wrong}"
            ));
        }
        for (machine, (state, stage)) in &self.machines {
            if *state != MachineState::Claimed {
                continue;
            }
            let wrong = match stage {
                None => "by no stage".to_owned(),
                Some(stage) if self.going_on.get(stage) == Some(machine) => continue,
                Some(stage) => format!("by stage {stage}, which does not go on there"),
            };
            self.wrong
                .push(format!("machine {machine} is claimed {wrong}"));
        }
        for (pool, limit) in limits {
            let slots = self.counts.slots.get(pool).copied().unwrap_or(0);
            if slots > *limit {
                self.wrong.push(format!(
                    "pool {pool} occupies {slots} slots, its limit is {limit}; a limit that was \
                     lowered is kept once machines have ended"
                ));
            }
        }
        self.wrong.sort();
        (self.counts, self.wrong)
    }

    fn row(&mut self, entry: &RowEntry) {
        let (row, pool) = match self.parse(entry) {
            Ok(parsed) => parsed,
            Err(error) => {
                let (kind, id) = (entry.kind.name(), &entry.id);
                self.wrong
                    .push(format!("{kind} {id} can't be read: {error}"));
                return;
            }
        };
        let key = row.key();
        let told = [
            ("id", key == named(entry)),
            ("version", row.version() == entry.version),
            ("slots", row.slots() == entry.slots),
            ("pool", pool == entry.pool.as_deref().unwrap_or_default()),
            (
                "end",
                entry.is_over.is_none_or(|is_over| is_over == over(&row)),
            ),
        ];
        for (column, agrees) in told {
            if !agrees {
                self.wrong.push(format!(
                    "{key} says something else of its {column} than the column beside it"
                ));
            }
        }
        if row.version() < Version(1) {
            self.wrong.push(format!("{key} has version 0"));
        }
        if !pool.is_empty() && !over(&row) && !self.pools.contains(&pool) {
            self.wrong
                .push(format!("{key} is of pool {pool}, which no runner ever had"));
        }
        if row.slots() > 0 {
            *self.counts.slots.entry(pool).or_default() += row.slots();
        }
        self.versions.insert(key, row.version());
    }

    /// The row, and its pool; none: a step.
    fn parse(&mut self, entry: &RowEntry) -> Result<(Row, String), serde_json::Error> {
        Ok(match entry.kind {
            RowKind::Order => {
                self.counts.orders += 1;
                let row: OrderRow = parsed(entry)?;
                let pool = row.pool.to_string();
                (Row::Order(row.into()), pool)
            }
            RowKind::Machine => {
                self.counts.machines += 1;
                let row: MachineRow = parsed(entry)?;
                let said = (row.state, row.stage.clone());
                self.machines.insert(row.id().clone(), said);
                let pool = row.machine.pool.to_string();
                (Row::Machine(row.into()), pool)
            }
            RowKind::Stage => {
                self.counts.stages += 1;
                let row: StageRow = parsed(entry)?;
                if row.has_machine() {
                    self.going_on.insert(row.id.clone(), row.machine.clone());
                }
                let pool = row.pool.to_string();
                (Row::Stage(row.into()), pool)
            }
            RowKind::Step => {
                self.counts.steps += 1;
                let row: StepRow = parsed(entry)?;
                let stage = RowKey::Stage(row.stage.clone());
                if !self.versions.contains_key(&stage) {
                    let step = &row.id;
                    self.wrong
                        .push(format!("step {step} has no stage: {stage} is not there"));
                }
                (Row::Step(row.into()), String::new())
            }
        })
    }

    fn event(&mut self, event: &Event) {
        self.counts.events += 1;
        let Event {
            seq, key, version, ..
        } = event;
        if *seq <= self.last_event {
            let last = self.last_event;
            self.wrong
                .push(format!("event {seq} comes after event {last}"));
        }
        self.last_event = *seq;
        // What is over may have been forgotten before its events.
        if let Some(has) = self.versions.get(key)
            && version > has
        {
            self.wrong.push(format!(
                "{key} has version {has}, and event {seq} tells of version {version}"
            ));
        }
    }
}

fn parsed<T: DeserializeOwned>(entry: &RowEntry) -> Result<T, serde_json::Error> {
    serde_json::from_str(&entry.json)
}

fn over(row: &Row) -> bool {
    match row {
        Row::Order(row) => row.state.is_settled(),
        Row::Machine(row) => !row.state.occupies_slot(),
        Row::Stage(row) => row.state.is_ended(),
        Row::Step(row) => row.outcome.is_some(),
    }
}

fn named(entry: &RowEntry) -> RowKey {
    let id = entry.id.as_str();
    match entry.kind {
        RowKind::Order => RowKey::Order(id.into()),
        RowKind::Machine => RowKey::Machine(id.into()),
        RowKind::Stage => RowKey::Stage(id.into()),
        RowKind::Step => RowKey::Step(id.into(), entry.step.as_deref().unwrap_or_default().into()),
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.pools, "pool"),
            (self.orders, "order"),
            (self.machines, "machine"),
            (self.stages, "stage"),
            (self.steps, "step"),
            (self.events, "event"),
        ];
        for (place, (number, kind)) in kinds.into_iter().enumerate() {
            let (comma, plural) = (
                if place == 0 { "" } else { ", " },
                if number == 1 { "" } else { "s" },
            );
            write!(f, "{comma}{number} {kind}{plural}")?;
        }
        for (pool, slots) in &self.slots {
            let plural = if *slots == 1 { "" } else { "s" };
            write!(f, "; pool {pool} occupies {slots} slot{plural}")?;
        }
        Ok(())
    }
}
