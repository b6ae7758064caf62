//! Rows for the cases, with names of their own.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::{Attempt, MachineId, OrderId, PoolName, StageId, StepId, Term, Version};
use crate::journal::{
    Batch, Change, Journal, JournalError, MachineRow, OrderRow, StageRow, StepRow,
};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::order::{self, OrderEvent, OrderState, Phase};
use crate::pool::RequestHash;
use crate::stage::{StageEnd, StageState};
use crate::step::{StepOutcome, StepStatus};

/// A pool of one case.
pub(super) struct Fixture {
    pub(super) pool: PoolName,
    pub(super) term: Term,
    pub(super) now: Timestamp,
}

pub(super) async fn fixture(
    journal: &Arc<dyn Journal>,
    name: &str,
) -> Result<Fixture, JournalError> {
    let pool = PoolName::new(format!("{name}-{}", uuid::Uuid::new_v4().simple()));
    let now = Timestamp(1_000_000);
    let term = journal.raise_term(&pool, now).await?;
    Ok(Fixture { pool, term, now })
}

pub(super) fn batch(fixture: &Fixture, changes: Vec<Change>) -> Batch {
    Batch {
        at: fixture.now,
        pool: fixture.pool.clone(),
        term: fixture.term,
        limit: None,
        changes,
        notes: Vec::new(),
    }
}

pub(super) fn order(fixture: &Fixture, count: u32) -> Arc<OrderRow> {
    let state = order::next(OrderState::planned(count), OrderEvent::Call);
    Arc::new(OrderRow {
        id: OrderId::fresh(),
        pool: fixture.pool.clone(),
        attempt: Attempt(1),
        spec: "spec".into(),
        state: state.expect("a planned order may be called"),
        sealed: Arc::from([0, 1, 255].as_slice()),
        created_at: fixture.now,
        called_at: Some(fixture.now),
        expires_at: fixture.now,
        version: Version(1),
    })
}

/// One slot of `order` is bound to `machine`.
pub(super) fn bind_one(
    order: &OrderRow,
    machine: Arc<MachineRow>,
) -> (Arc<OrderRow>, Arc<MachineRow>) {
    let state = order::next(order.state, OrderEvent::Bind(1)).expect("a slot is open");
    let bound = OrderRow {
        state,
        version: order.version.next(),
        ..order.clone()
    };
    (Arc::new(bound), machine)
}

pub(super) fn settled(order: &OrderRow) -> Arc<OrderRow> {
    let count = order.state.open;
    let state = order::next(order.state, OrderEvent::ProveAbsent(count)).expect("it is launching");
    assert_eq!(state.phase, Phase::Settled);
    Arc::new(OrderRow {
        state,
        version: order.version.next(),
        ..order.clone()
    })
}

pub(super) fn machine(fixture: &Fixture, name: &str) -> Arc<MachineRow> {
    Arc::new(MachineRow {
        machine: Arc::new(Machine {
            id: MachineId::new(format!("{}-{name}", fixture.pool)),
            pool: fixture.pool.clone(),
            order: OrderId::new("order"),
            attempt: Attempt(1),
            address: None,
            key: None,
        }),
        state: MachineState::Ready,
        since: fixture.now,
        cause: "a test".into(),
        stage: None,
        spec: None,
        launched_at: fixture.now,
        expires_at: fixture.now,
        called_at: None,
        hold: None,
        version: Version(1),
    })
}

pub(super) fn stage(fixture: &Fixture, number: u32, machine: &MachineId) -> Arc<StageRow> {
    Arc::new(StageRow {
        id: StageId::new(format!("{}-{number}", fixture.pool)),
        pool: fixture.pool.clone(),
        machine: machine.clone(),
        term: fixture.term,
        state: StageState::Claimed,
        hash: Some(RequestHash::default()),
        claimed_at: fixture.now,
        deadline: fixture.now,
        tried: Vec::new(),
        version: Version(1),
    })
}

pub(super) fn ended(stage: &StageRow, end: StageEnd) -> Arc<StageRow> {
    Arc::new(StageRow {
        state: StageState::Ended(end),
        version: stage.version.next(),
        ..stage.clone()
    })
}

pub(super) fn step(stage: &StageRow, name: &str) -> Arc<StepRow> {
    Arc::new(StepRow {
        stage: stage.id.clone(),
        id: StepId::new(name),
        hash: None,
        outcome: None,
        version: Version(1),
    })
}

pub(super) fn finished(step: &StepRow) -> Arc<StepRow> {
    Arc::new(StepRow {
        outcome: Some(StepOutcome {
            status: StepStatus::Exited { code: 0 },
            started_at: Timestamp(1),
            ended_at: Timestamp(2),
            log_end: 3,
        }),
        version: step.version.next(),
        ..step.clone()
    })
}
