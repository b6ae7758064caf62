//! What counts against a pool's limit (P7).

use std::sync::Arc;

use super::rows::{self, batch, fixture, machine, order};
use crate::journal::{Batch, Change, CommitError, Journal, JournalError, MachineRow};
use crate::link::Machine;
use crate::machine::MachineState;

pub(super) async fn p7_the_limit_counts_open_slots_and_living_machines(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "limit").await?;
    let within = |limit, changes| Batch {
        limit: Some(limit),
        ..batch(&fixture, changes)
    };
    let ordered = order(&fixture, 2);
    let first = vec![Change::new(ordered.clone(), "launching", "a test")];
    journal
        .commit(within(3, first))
        .await
        .expect("two of three");
    let more = vec![Change::new(order(&fixture, 2), "launching", "a test")];
    let refused = journal.commit(within(3, more)).await;
    assert!(
        matches!(
            refused,
            Err(CommitError::Limit {
                limit: 3,
                wanted: 4,
                ..
            })
        ),
        "{refused:?}"
    );
    // Binding moves a slot from the order to its machine.
    let (bound, row) = rows::bind_one(&ordered, machine(&fixture, "one"));
    let changes = vec![
        Change::new(bound, "bound", "a test"),
        Change::new(row.clone(), "booting", "a test"),
    ];
    journal.commit(within(2, changes)).await.expect("still two");
    let gone = Arc::new(MachineRow {
        state: MachineState::Gone,
        version: row.version.next(),
        ..(*row).clone()
    });
    let changes = vec![Change::new(gone, "gone", "a test")];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("it ends");
    let changes = vec![Change::new(order(&fixture, 1), "launching", "a test")];
    journal
        .commit(within(2, changes))
        .await
        .expect("its slot is free");
    Ok(())
}

pub(super) async fn p7_a_machine_that_another_pool_writes_down_as_its_own_frees_its_slot(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let (one, other) = (
        fixture(journal, "from").await?,
        fixture(journal, "to").await?,
    );
    let within_one = |fixture, row: Arc<MachineRow>| Batch {
        limit: Some(1),
        ..batch(fixture, vec![Change::new(row, "booting", "a test")])
    };
    let row = machine(&one, "one");
    let first = journal.commit(within_one(&one, row.clone())).await;
    first.expect("it fits");
    let moved = Arc::new(MachineRow {
        machine: Arc::new(Machine {
            pool: other.pool.clone(),
            ..(*row.machine).clone()
        }),
        version: row.version.next(),
        ..(*row).clone()
    });
    let second = journal.commit(within_one(&other, moved)).await;
    second.expect("it is the next version, and the only one there");
    let more = journal
        .commit(within_one(&other, machine(&other, "more")))
        .await;
    assert!(matches!(more, Err(CommitError::Limit { .. })), "{more:?}");
    let instead = journal
        .commit(within_one(&one, machine(&one, "instead")))
        .await;
    instead.expect("its slot is free");
    Ok(())
}
