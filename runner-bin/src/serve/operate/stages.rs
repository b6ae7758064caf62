//! The stages: those that have machines, as the journal has them, and those
//! that wait, as the pools of this runner do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vmpool_core::journal::{Journal, JournalError, PoolRows, StageRecord};
use vmpool_core::pool::PoolStatus;
use vmpool_core::{Clock, PoolName, StageId};
use vmpool_proto::v1;

use crate::messages;

/// All stages that go on, or those of one pool; the oldest first.
///
/// # Errors
/// The journal could not be read.
pub(crate) async fn listed(
    journal: &dyn Journal,
    live: &[PoolStatus],
    pool: Option<&PoolName>,
) -> Result<v1::StagesResponse, JournalError> {
    let now = Clock::system().now();
    let mut stages = Vec::new();
    for owned in journal.pools(now).await? {
        if pool.is_none_or(|name| owned.pool == *name) {
            stages.extend(of_pool(&journal.pool(&owned.pool).await?));
        }
    }
    let waiting = live
        .iter()
        .filter(|live| pool.is_none_or(|name| live.name == *name));
    stages.extend(waiting.flat_map(|pool| {
        let waiter = |waiter| messages::waiting(&pool.name, waiter);
        pool.waiters.iter().map(waiter)
    }));
    // Who waits for its next machine is in the journal, too.
    let mut told = HashSet::new();
    stages.retain(|stage| told.insert(stage.id.clone()));
    stages
        .sort_by(|one, other| (one.since_unix_ms, &one.id).cmp(&(other.since_unix_ms, &other.id)));
    Ok(v1::StagesResponse {
        at_unix_ms: now.0,
        stages,
    })
}

fn of_pool(rows: &PoolRows) -> Vec<v1::Stage> {
    let machines: HashMap<_, _> = rows.machines.iter().map(|row| (row.id(), row)).collect();
    let going_on = rows
        .stages
        .iter()
        .filter(|record| !record.stage.state.is_ended());
    let stage = |record: &StageRecord| {
        let machine = machines.get(&record.stage.machine).map(|row| &***row);
        messages::stage(record, machine)
    };
    going_on.map(stage).collect()
}

/// One stage, also after its end. None: nothing is known of it.
///
/// # Errors
/// The journal could not be read.
pub(crate) async fn one(
    journal: &Arc<dyn Journal>,
    live: &[PoolStatus],
    id: &StageId,
) -> Result<Option<v1::Stage>, JournalError> {
    if let Some(record) = journal.stage(id).await? {
        let machine = journal.machine(&record.stage.machine).await?;
        return Ok(Some(messages::stage(&record, machine.as_deref())));
    }
    Ok(live.iter().find_map(|pool| {
        let mut waiters = pool.waiters.iter();
        let waiter = waiters.find(|waiter| waiter.stage == *id)?;
        Some(messages::waiting(&pool.name, waiter))
    }))
}
