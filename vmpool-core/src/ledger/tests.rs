//! The ledger adds up, over any number of pages.

use std::sync::Arc;

use super::{Ledger, Totals};
use crate::clock::Timestamp;
use crate::id::{Attempt, Term, Version};
use crate::journal::{Batch, Change, Journal as _, MachineRow, MemoryJournal};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::pool::PoolStatus;
use crate::reconcile::Unaccounted;

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
        spec: None,
        launched_at: Timestamp(1),
        expires_at: Timestamp(2),
        called_at: None,
        hold: None,
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

async fn read(mut ledger: Ledger) -> (usize, Totals) {
    let mut told = 0;
    while let Some(page) = ledger.next_page().await.expect("it is read") {
        told += page.len();
    }
    (told, ledger.totals())
}

#[tokio::test]
async fn p1_every_machine_is_told_once_and_counted() {
    let journal = Arc::new(MemoryJournal::new());
    write(&journal, "linux", 1_000, MachineState::Gone).await;
    write(&journal, "windows", 7, MachineState::Lost).await;
    write(&journal, "arm", 5, MachineState::Terminating).await;

    let (told, totals) = read(Ledger::of(journal.clone())).await;
    assert_eq!(told, 1_012);
    let expected = Totals {
        machines: 1_012,
        ended: 1_007,
        alive: 5,
        unaccounted: 0,
    };
    assert_eq!(totals, expected);

    let (told, totals) = read(Ledger::of(journal.clone()).only(Some("windows".into()))).await;
    assert_eq!((told, totals.ended), (7, 7));
}

#[tokio::test]
async fn p1_what_is_not_accounted_for_is_told_with_its_reason_also_without_a_row() {
    let journal = Arc::new(MemoryJournal::new());
    write(&journal, "linux", 2, MachineState::Ready).await;
    let doubt = |machine: &str, why: &'static str| Unaccounted {
        machine: machine.into(),
        why: why.into(),
    };
    let status = PoolStatus {
        unaccounted: vec![
            doubt("linux-00001", "the last listing does not show it"),
            doubt("stranger", "it could not be written down"),
        ],
        ..crate::explain::tests::pool()
    };
    let mut ledger = Ledger::of(journal).with_unaccounted(&[status]);
    let mut told = Vec::new();
    while let Some(page) = ledger.next_page().await.expect("it is read") {
        let entries = page.into_iter();
        told.extend(entries.map(|e| (e.machine.to_string(), e.row.is_some(), e.unaccounted)));
    }
    let why = |why: &'static str| Some(why.into());
    let expected = [
        ("linux-00000".to_owned(), true, None),
        (
            "linux-00001".to_owned(),
            true,
            why("the last listing does not show it"),
        ),
        (
            "stranger".to_owned(),
            false,
            why("it could not be written down"),
        ),
    ];
    assert_eq!(told, expected);
    let totals = ledger.totals();
    assert_eq!(
        (totals.machines, totals.alive, totals.unaccounted),
        (3, 2, 2)
    );
}
