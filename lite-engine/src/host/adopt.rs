//! Finds the steps that an earlier agent started in this directory (P4).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use vmpool_core::StepId;

use super::Shared;
use super::record::Record;
use super::step::{RunningStep, is_lost};
use crate::holder::read_outcome;

/// All steps that were ever let go in this directory, those that run being watched.
pub(super) fn all(shared: &Arc<Shared>) -> io::Result<BTreeMap<StepId, RunningStep>> {
    let mut steps = BTreeMap::new();
    for entry in fs::read_dir(shared.steps_dir())? {
        let dir = entry?.path();
        if let Some(step) = one(shared, &dir)? {
            steps.insert(step.id().clone(), step);
        }
    }
    Ok(steps)
}

fn one(shared: &Shared, dir: &Path) -> io::Result<Option<RunningStep>> {
    let Some(record) = Record::read(dir)? else {
        // It was never let go, so it may be started as if it was new.
        fs::remove_dir_all(dir)?;
        return Ok(None);
    };
    if let Some(holder) = record.find_holder()? {
        let (step, watcher) = RunningStep::running(dir.to_owned(), record, holder)?;
        shared.watchers.spawn(watcher.run(shared.closing.clone()));
        return Ok(Some(step));
    }
    let outcome = match read_outcome(dir) {
        Ok(Some(outcome)) if !is_lost(&outcome) => outcome,
        Ok(told) => record.lose(dir, told),
        Err(error) => record.lose(
            dir,
            Some(record.lost(format!("its outcome can't be read: {error}"))),
        ),
    };
    Ok(Some(RunningStep::ended(dir, &record, outcome)))
}
