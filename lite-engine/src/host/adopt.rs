//! Finds the steps that an earlier agent let go in this directory (P4).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Weak};

use vmpool_core::agent::{BootId, StepRecord};
use vmpool_core::{StepId, StepOutcome};

use super::Shared;
use super::start::file_name;
use super::step::RunningStep;
use super::watch::{find, is_lost, lost_step};
use crate::log::{Progress, StepLog, beginnings};
use crate::process::ProcessId;
use crate::records::Entry;

/// Why a step is lost that ran when the machine went down.
pub(crate) const RESTARTED: &str = "the machine was restarted";

/// What the records say of a step.
struct Known {
    record: StepRecord,
    /// It was let go in an earlier boot: its holder is gone, though another
    /// process may have its pid.
    before_restart: bool,
    /// None for a step that never had a process.
    holder: Option<ProcessId>,
    segment_bytes: u64,
    settled: Option<StepOutcome>,
}

/// What is found in a host's directory.
pub(super) struct Found {
    /// All steps that were ever let go there, those that run being watched.
    pub(super) steps: BTreeMap<StepId, RunningStep>,
    /// The machine was restarted since the directory was used last.
    pub(super) was_restarted: bool,
}

/// Looks at what is there in this boot. Blocks until what was left of lost
/// steps is ended.
pub(super) fn all(shared: &Arc<Shared>, boot: BootId) -> io::Result<Found> {
    let beginnings = beginnings(&shared.logs_dir())?;
    let mut news = shared.table.lock().read_news();
    let last = news.iter().rev().find_map(|entry| match entry {
        Entry::Booted { boot } => Some(boot.clone()),
        _ => None,
    });
    let was_restarted = last.as_ref().is_some_and(|last| *last != boot);
    if last.is_none() || was_restarted {
        let booted = Entry::Booted { boot };
        shared.records.add(&booted)?;
        news.push(booted);
    }
    let mut steps = BTreeMap::new();
    for (id, known) in fold(news) {
        steps.insert(id, adopt(shared, known, &beginnings)?);
    }
    Ok(Found {
        steps,
        was_restarted,
    })
}

fn fold(entries: Vec<Entry>) -> BTreeMap<StepId, Known> {
    let mut steps: BTreeMap<StepId, Known> = BTreeMap::new();
    let mut present = None;
    for entry in entries {
        match entry {
            Entry::Booted { boot } => {
                let before_restart = present.replace(boot.clone()).is_some_and(|was| was != boot);
                if before_restart {
                    for step in steps.values_mut() {
                        step.before_restart = true;
                    }
                }
            }
            Entry::Started {
                step: record,
                holder,
                segment_bytes,
            } => {
                let holder = Some(holder);
                let known = Known {
                    record,
                    before_restart: false,
                    holder,
                    segment_bytes,
                    settled: None,
                };
                steps.insert(known.record.id.clone(), known);
            }
            // The table has it.
            Entry::Ended { .. } => {}
            Entry::Settled {
                step: record,
                outcome,
            } => {
                let known = steps.entry(record.id.clone());
                let known = known.or_insert(Known {
                    record,
                    before_restart: false,
                    holder: None,
                    segment_bytes: 1,
                    settled: None,
                });
                known.settled = Some(outcome);
            }
        }
    }
    steps
}

fn adopt(
    shared: &Arc<Shared>,
    known: Known,
    beginnings: &HashMap<String, u64>,
) -> io::Result<RunningStep> {
    let Known {
        record,
        before_restart,
        holder,
        segment_bytes,
        settled,
    } = known;
    let name = file_name(&record.id);
    let begin = beginnings.get(&name).copied();
    let log = |begin| StepLog::new(&shared.logs_dir(), &name, segment_bytes, begin);
    let told = shared.table.lock().told.get(&record.id).cloned();
    let over = settled.or_else(|| told.filter(|outcome| !is_lost(outcome)));
    let outcome = match (over, holder) {
        (Some(outcome), _) => outcome,
        (None, Some(holder)) => {
            let log = log(begin.unwrap_or(0));
            let mut outcome = if before_restart {
                lost_step(&record, RESTARTED)
            } else if let Some(process) = find(holder)? {
                return shared.watch(record, log, holder, process);
            } else {
                shared.lose(&record, holder)
            };
            outcome.log_end = log.measure(log.begin())?;
            shared.record(&Entry::Settled {
                step: record.clone(),
                outcome: outcome.clone(),
            });
            outcome
        }
        // Only the host's word makes a step without a holder known.
        (None, None) => lost_step(&record, "its end was not recorded"),
    };
    // A log without files was released as a whole.
    let log = log(begin.unwrap_or(outcome.log_end));
    let progress = Progress {
        written: outcome.log_end,
        ended: true,
    };
    let closing = shared.closing.clone();
    Ok(RunningStep::new(
        record,
        log,
        progress,
        Some(outcome),
        Weak::new(),
        closing,
    ))
}
