//! Finds the steps that an earlier agent let go in this directory (P4).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Weak};

use vmpool_core::agent::StepRecord;
use vmpool_core::{StepId, StepOutcome};

use super::Shared;
use super::start::file_name;
use super::step::RunningStep;
use super::watch::{find, is_lost, lost_step};
use crate::log::{Progress, StepLog, beginnings};
use crate::process::ProcessId;
use crate::records::Entry;

/// What the records say of a step.
struct Known {
    record: StepRecord,
    /// None for a step that never had a process.
    holder: Option<ProcessId>,
    segment_bytes: u64,
    settled: Option<StepOutcome>,
}

/// All steps that were ever let go in this directory, those that run being
/// watched. Blocks until what was left of lost ones is ended.
pub(super) fn all(shared: &Arc<Shared>) -> io::Result<BTreeMap<StepId, RunningStep>> {
    let beginnings = beginnings(&shared.logs_dir())?;
    let news = shared.table.lock().read_news();
    let mut steps = BTreeMap::new();
    for (id, known) in fold(news) {
        steps.insert(id, adopt(shared, known, &beginnings)?);
    }
    Ok(steps)
}

fn fold(entries: Vec<Entry>) -> BTreeMap<StepId, Known> {
    let mut steps = BTreeMap::new();
    for entry in entries {
        match entry {
            Entry::Started {
                step: record,
                holder,
                segment_bytes,
            } => {
                let holder = Some(holder);
                let known = Known {
                    record,
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
            if let Some(process) = find(holder)? {
                return shared.watch(record, log, holder, process);
            }
            let mut outcome = shared.lose(&record, holder);
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
