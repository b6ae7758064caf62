//! The ledger adds up, over any number of pages.

use std::sync::Arc;

use super::{Ledger, Totals};
use crate::clock::Timestamp;
use crate::id::{Attempt, Term, Version};
use crate::journal::{Batch, Change, Journal as _, MachineRow, MemoryJournal};
use crate::link::Machine;
use crate::machine::MachineState;

async fn write(journal: &MemoryJournal, pool: &str, machines: u32, state: MachineState) {
    let row = |n| MachineRow {
        machine: Arc::new(Machine {
            id: format!("{pool}-{n:05}").into(),
            pool: pool.into(),
            order: "order".into(),
            attempt: Attempt(1),
            address: None,
            key: None,
        }),
        state,
        since: Timestamp(1),
        cause: "a test".into(),
        stage: None,
        launched_at: Timestamp(1),
        expires_at: Timestamp(2),
        called_at: None,
        version: Version(1),
    };
    let changes = (0..machines).map(|n| Change::new(Arc::new(row(n)), state.as_str(), "a test"));
    let batch = Batch {
        at: Timestamp(1),
        pool: pool.into(),
        term: Term(1),
        limit: None,
        changes: changes.collect(),
        notes: Vec::new(),
    };
    journal.commit(batch).await.expect("it is written");
}

async fn read(mut ledger: Ledger<'_>) -> (usize, Totals) {
    let mut told = 0;
    while let Some(page) = ledger.next_page().await.expect("it is read") {
        told += page.len();
    }
    (told, ledger.totals())
}

#[tokio::test]
async fn p1_every_machine_is_told_once_and_counted() {
    let journal = MemoryJournal::new();
    write(&journal, "linux", 1_000, MachineState::Gone).await;
    write(&journal, "windows", 7, MachineState::Lost).await;
    write(&journal, "arm", 5, MachineState::Terminating).await;

    let (told, totals) = read(Ledger::of(&journal)).await;
    assert_eq!(told, 1_012);
    let expected = Totals {
        machines: 1_012,
        ended: 1_007,
        alive: 5,
        unaccounted: 0,
    };
    assert_eq!(totals, expected);

    let (told, totals) = read(Ledger::of(&journal).only(Some("windows".into()))).await;
    assert_eq!((told, totals.ended), (7, 7));
}
