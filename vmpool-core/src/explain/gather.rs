//! Finds out what an id stands for, and reads what the journal has of it and
//! of what belongs to it.

use std::sync::Arc;

use super::{ExplainError, MOST_EVENTS};
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, PoolName, StageId};
use crate::journal::{Event, Journal, JournalError, MachineRow, OrderRow, RowKey, StageRecord};
use crate::machine::MachineState;
use crate::pool::{PoolStatus, Waiter};

/// Orders, and machines, whose events are told beside the subject's own.
const MOST_BESIDE: usize = 8;

/// What was found.
#[derive(Debug)]
pub(super) struct Findings {
    /// What the id stands for.
    pub(super) subject: Subject,
    /// The machine of the stage, or the one asked about.
    pub(super) machine: Option<Arc<MachineRow>>,
    /// The pool at this moment, if it is known.
    pub(super) pool: Option<PoolStatus>,
    /// Everything that happened, by time.
    pub(super) events: Vec<Event>,
    /// This moment.
    pub(super) now: Timestamp,
}

/// What an id stands for.
#[derive(Debug)]
pub(super) enum Subject {
    /// A stage that has or had a machine.
    Stage(StageRecord),
    /// A request without a machine.
    Request(StageId),
    /// A machine, and the stage that has or had it.
    Machine(Arc<MachineRow>, Option<StageRecord>),
    /// An order.
    Order(Arc<OrderRow>),
}

impl Findings {
    /// The request as its pool has it waiting at this moment.
    pub(super) fn waiter(&self) -> Option<&Waiter> {
        let Subject::Request(stage) = &self.subject else {
            return None;
        };
        let waiters = &self.pool.as_ref()?.waiters;
        waiters.iter().find(|waiter| waiter.stage == *stage)
    }
}

/// Reads all that belongs to `subject`.
pub(super) async fn gather(
    journal: &dyn Journal,
    subject: &str,
    now: Timestamp,
    live: &[PoolStatus],
) -> Result<Findings, ExplainError> {
    let stage = StageId::parse(subject).map_err(|source| ExplainError::BadId {
        subject: subject.to_owned(),
        source,
    })?;
    let unreadable = |source| ExplainError::Journal {
        subject: subject.to_owned(),
        source,
    };
    let found = find(journal, stage, live).await.map_err(unreadable)?;
    let Some(found) = found else {
        return Err(ExplainError::Unknown {
            subject: subject.to_owned(),
        });
    };
    let read = belonging(journal, found, now, live).await;
    read.map_err(unreadable)
}

/// Ids of different kinds have different makers and hardly meet. Where they do,
/// the stage is meant: its id is the one that callers choose.
async fn find(
    journal: &dyn Journal,
    id: StageId,
    live: &[PoolStatus],
) -> Result<Option<Subject>, JournalError> {
    if let Some(record) = journal.stage(&id).await? {
        return Ok(Some(Subject::Stage(record)));
    }
    if let Some(row) = journal.machine(&MachineId::new(id.as_str())).await? {
        let stage = match &row.stage {
            Some(stage) => journal.stage(stage).await?,
            None => None,
        };
        return Ok(Some(Subject::Machine(row, stage)));
    }
    if let Some(row) = journal.order(&OrderId::new(id.as_str())).await? {
        return Ok(Some(Subject::Order(row)));
    }
    let key = RowKey::Stage(id.clone());
    let is_known = waits_in(&id, live).is_some() || !journal.history(&key, 1).await?.is_empty();
    Ok(is_known.then_some(Subject::Request(id)))
}

/// The pool in which a request waits at this moment.
fn waits_in<'a>(stage: &StageId, live: &'a [PoolStatus]) -> Option<&'a PoolStatus> {
    live.iter()
        .find(|pool| pool.waiters.iter().any(|waiter| waiter.stage == *stage))
}

/// The rows and events of what belongs to the subject.
async fn belonging(
    journal: &dyn Journal,
    subject: Subject,
    now: Timestamp,
    live: &[PoolStatus],
) -> Result<Findings, JournalError> {
    let named = |name: &PoolName| live.iter().find(|pool| pool.name == *name);
    let mut keys = Vec::new();
    let mut machine = None;
    let pool = match &subject {
        Subject::Stage(record) => {
            keys.push(RowKey::Stage(record.stage.id.clone()));
            machine = journal.machine(&record.stage.machine).await?;
            named(&record.stage.pool)
        }
        Subject::Machine(row, stage) => {
            keys.extend(stage.iter().map(|s| RowKey::Stage(s.stage.id.clone())));
            machine = Some(row.clone());
            named(&row.machine.pool)
        }
        Subject::Order(row) => {
            keys.push(RowKey::Order(row.id.clone()));
            keys.extend(machines_of(journal, row).await?);
            named(&row.pool)
        }
        Subject::Request(stage) => {
            keys.push(RowKey::Stage(stage.clone()));
            let pool = waits_in(stage, live);
            if let Some(pool) = pool {
                keys.extend(on_their_way(journal, &pool.name).await?);
            }
            pool
        }
    };
    if let Some(row) = &machine {
        keys.push(RowKey::Machine(row.id().clone()));
        keys.push(RowKey::Order(row.machine.order.clone()));
    }
    let mut events = Vec::new();
    for key in &keys {
        events.extend(journal.history(key, MOST_EVENTS).await?);
    }
    events.sort_by_key(|event| (event.at, event.seq));
    Ok(Findings {
        subject,
        machine,
        pool: pool.cloned(),
        events,
        now,
    })
}

/// The machines of an order that are not over.
async fn machines_of(journal: &dyn Journal, order: &OrderRow) -> Result<Vec<RowKey>, JournalError> {
    let rows = journal.pool(&order.pool).await?;
    let its = rows
        .machines
        .iter()
        .filter(|row| row.machine.order == order.id);
    let keys = its.map(|row| RowKey::Machine(row.id().clone()));
    Ok(keys.take(MOST_BESIDE).collect())
}

/// What a pool waits for: its open orders, and its machines on their way up.
async fn on_their_way(journal: &dyn Journal, pool: &PoolName) -> Result<Vec<RowKey>, JournalError> {
    let rows = journal.pool(pool).await?;
    let orders = rows.orders.iter().map(|row| RowKey::Order(row.id.clone()));
    let booting = rows.machines.iter();
    let booting = booting.filter(|row| row.state == MachineState::Booting);
    let booting = booting.map(|row| RowKey::Machine(row.id().clone()));
    Ok(orders
        .take(MOST_BESIDE)
        .chain(booting.take(MOST_BESIDE))
        .collect())
}
