//! What is kept of what is over, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use super::rows::{self, batch, fixture, machine, order, stage, step};
use crate::id::{MachineId, Version};
use crate::journal::{Batch, Change, Journal, JournalError, MachineRow, Note, Retention, RowKey};
use crate::machine::MachineState;
use crate::stage::{StageEnd, StageState};

pub(super) async fn what_is_not_over_is_what_a_pool_goes_on_with(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "rows").await?;
    let ordered = order(&fixture, 1);
    let row = machine(&fixture, "one");
    let staged = stage(&fixture, 0, row.id());
    let stepped = step(&staged, "build");
    let changes = vec![
        Change::new(ordered.clone(), "launching", "a test"),
        Change::new(row.clone(), "claimed", "a test"),
        Change::new(staged.clone(), "claimed", "a test"),
        Change::new(stepped.clone(), "sent", "a test"),
    ];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("all are new");
    let found = journal.pool(&fixture.pool).await?;
    assert_eq!(found.orders.as_slice(), std::slice::from_ref(&ordered));
    assert_eq!(found.machines.as_slice(), std::slice::from_ref(&row));
    assert_eq!(found.stages.len(), 1);
    assert_eq!(found.stages[0].stage, staged);
    assert_eq!(
        found.stages[0].steps.as_slice(),
        std::slice::from_ref(&stepped)
    );
    assert_eq!(journal.order(&ordered.id).await?, Some(ordered.clone()));

    let ended = rows::ended(&staged, StageEnd::Released);
    let gone = Arc::new(MachineRow {
        state: MachineState::Gone,
        version: row.version.next(),
        ..(*row).clone()
    });
    let changes = vec![
        Change::new(rows::settled(&ordered), "settled", "a test"),
        Change::new(gone.clone(), "gone", "a test"),
        Change::new(ended.clone(), "ended", "a test"),
    ];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("all end");
    let found = journal.pool(&fixture.pool).await?;
    assert!(found.orders.is_empty() && found.machines.is_empty());
    // It was not written down yet how its step ended.
    let left: Vec<_> = found.stages.iter().map(|record| &record.stage).collect();
    assert_eq!(left, [&ended]);
    assert_eq!(found.stages[0].steps, std::slice::from_ref(&stepped));
    let stepped = rows::finished(&stepped);
    let changes = vec![Change::new(stepped.clone(), "ended", "a test")];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("it is the next version");
    assert!(journal.pool(&fixture.pool).await?.stages.is_empty());
    let record = journal
        .stage(&staged.id)
        .await?
        .expect("it is kept after its end");
    assert_eq!(record.stage.state, StageState::Ended(StageEnd::Released));
    assert_eq!(record.steps, [stepped]);
    assert_eq!(journal.machine(gone.id()).await?, Some(gone));
    Ok(())
}

pub(super) async fn events_and_notes_are_told_in_their_order(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "events").await?;
    let row = machine(&fixture, "one");
    let staged = stage(&fixture, 0, row.id());
    let waits = Batch {
        notes: vec![Note {
            key: RowKey::Stage(staged.id.clone()),
            what: "waits",
            cause: "none is ready".into(),
        }],
        ..batch(&fixture, Vec::new())
    };
    journal.commit(waits).await.expect("a note needs no row");
    let changes = vec![
        Change::new(row.clone(), "claimed", "a test"),
        Change::new(staged.clone(), "claimed", "a test"),
        Change::new(step(&staged, "build"), "sent", "a test"),
    ];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("all are new");
    let of_stage = journal
        .history(&RowKey::Stage(staged.id.clone()), 10)
        .await?;
    let told: Vec<&str> = of_stage.iter().map(|event| &*event.what).collect();
    assert_eq!(
        told,
        ["waits", "claimed", "sent"],
        "a stage's steps are part of its history"
    );
    assert_eq!(of_stage[0].version, Version(0));
    let of_machine = journal
        .history(&RowKey::Machine(row.id().clone()), 10)
        .await?;
    assert_eq!(of_machine.len(), 1);
    assert_eq!(of_machine[0].cause, "a test");
    let latest = journal
        .history(&RowKey::Stage(staged.id.clone()), 1)
        .await?;
    assert_eq!(
        latest[0].what, "sent",
        "the latest are kept where there are too many"
    );
    let first = of_stage[0].seq;
    let after = journal.events(first, 2).await?;
    assert_eq!(after.len(), 2);
    assert!(first < after[0].seq && after[0].seq < after[1].seq);
    Ok(())
}

pub(super) async fn the_ledger_has_every_machine_page_by_page(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "ledger").await?;
    let rows: Vec<_> = ["a", "b", "c"].map(|name| machine(&fixture, name)).into();
    let changes = rows.iter();
    let changes = changes.map(|row| Change::new(row.clone(), "booting", "a test"));
    journal
        .commit(batch(&fixture, changes.collect()))
        .await
        .expect("all are new");
    let mut found: Vec<MachineId> = Vec::new();
    let mut after: Option<MachineId> = None;
    loop {
        let page = journal.ledger(after.as_ref(), 2).await?;
        assert!(page.len() <= 2, "a page is as long as it was asked for");
        let Some(last) = page.last() else { break };
        after = Some(last.id().clone());
        found.extend(page.iter().map(|row| row.id().clone()));
    }
    assert!(found.is_sorted(), "pages are sorted by id");
    for row in &rows {
        assert_eq!(found.iter().filter(|id| *id == row.id()).count(), 1);
    }
    Ok(())
}

pub(super) async fn compaction_forgets_nothing_that_is_not_over(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "compact").await?;
    let row = machine(&fixture, "one");
    let staged = stage(&fixture, 0, row.id());
    let changes = vec![
        Change::new(row.clone(), "claimed", "a test"),
        Change::new(staged.clone(), "claimed", "a test"),
    ];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("all are new");
    let nothing = Retention {
        events_for: Duration::ZERO,
        events_most: 0,
        ended_for: Duration::ZERO,
    };
    let later = fixture.now.after(Duration::from_hours(1));
    journal.compact(nothing, later).await?;
    assert_eq!(journal.machine(row.id()).await?, Some(row));
    assert!(journal.stage(&staged.id).await?.is_some());
    let last = journal
        .events(0, 1_000)
        .await?
        .last()
        .map_or(0, |event| event.seq);
    let changes = vec![Change::new(machine(&fixture, "other"), "booting", "a test")];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("it is new");
    let after = journal.events(last, 10).await?;
    assert_eq!(after.len(), 1, "numbers of events are never used twice");
    Ok(())
}
