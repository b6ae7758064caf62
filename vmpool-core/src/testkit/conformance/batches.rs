//! What a batch is: whole or not made at all, by compare-and-swap (P2).

use std::sync::Arc;

use super::rows::{batch, fixture, machine, stage};
use crate::id::{StageId, Version};
use crate::journal::{Batch, Change, CommitError, Journal, JournalError, MachineRow, RowKey};
use crate::machine::MachineState;

pub(super) async fn a_batch_is_made_whole_or_not_at_all(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "whole").await?;
    let (one, other) = (machine(&fixture, "one"), machine(&fixture, "other"));
    let made = journal
        .commit(batch(
            &fixture,
            vec![Change::new(one.clone(), "booting", "a test")],
        ))
        .await;
    made.expect("a first row has version 1");
    let wrong = Arc::new(MachineRow {
        version: Version(3),
        ..(*one).clone()
    });
    let changes = vec![
        Change::new(other.clone(), "booting", "a test"),
        Change::new(wrong, "booting", "a test"),
    ];
    let refused = journal.commit(batch(&fixture, changes)).await;
    assert!(
        matches!(
            &refused,
            Err(CommitError::Conflict { key: RowKey::Machine(id), wanted: Version(3), found: Some(Version(1)) })
                if id == one.id()
        ),
        "{refused:?}"
    );
    assert_eq!(
        journal.machine(other.id()).await?,
        None,
        "half of a batch was made"
    );
    assert_eq!(journal.machine(one.id()).await?, Some(one));
    Ok(())
}

pub(super) async fn a_row_is_changed_once_in_a_batch(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "twice").await?;
    let first = machine(&fixture, "one");
    for second in [Version(1), Version(2)] {
        let again = Arc::new(MachineRow {
            version: second,
            ..(*first).clone()
        });
        let changes = vec![
            Change::new(first.clone(), "booting", "a test"),
            Change::new(again, "booting", "a test"),
        ];
        let refused = journal.commit(batch(&fixture, changes)).await;
        assert!(
            matches!(&refused, Err(CommitError::Conflict { wanted, found: Some(Version(1)), .. })
                if *wanted == second),
            "{refused:?}"
        );
    }
    assert_eq!(journal.machine(first.id()).await?, None);
    Ok(())
}

pub(super) async fn versions_are_held_against_each_other_before_the_limit(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "again").await?;
    let again = Batch {
        limit: Some(1),
        ..batch(
            &fixture,
            vec![Change::new(machine(&fixture, "one"), "booting", "a test")],
        )
    };
    journal.commit(again.clone()).await.expect("it fits");
    let refused = journal.commit(again).await;
    assert!(
        matches!(refused, Err(CommitError::Conflict { .. })),
        "what is committed already is a conflict: {refused:?}"
    );
    Ok(())
}

pub(super) async fn p2_of_many_claims_of_one_machine_one_is_made(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "claims").await?;
    let row = machine(&fixture, "one");
    let changes = vec![Change::new(row.clone(), "ready", "a test")];
    journal
        .commit(batch(&fixture, changes))
        .await
        .expect("it is new");
    let mut claims = tokio::task::JoinSet::new();
    for number in 0..16 {
        let claimed = Arc::new(MachineRow {
            state: MachineState::Claimed,
            stage: Some(StageId::new(format!("{}-{number}", fixture.pool))),
            version: row.version.next(),
            ..(*row).clone()
        });
        let changes = vec![
            Change::new(claimed.clone(), "claimed", "a test"),
            Change::new(stage(&fixture, number, row.id()), "claimed", "a test"),
        ];
        let (journal, claim) = (journal.clone(), batch(&fixture, changes));
        claims.spawn(async move { (claimed, journal.commit(claim).await) });
    }
    let mut winner = None;
    while let Some(claim) = claims.join_next().await {
        match claim.expect("a claim does not panic") {
            (claimed, Ok(())) => assert_eq!(winner.replace(claimed), None, "two claims were made"),
            (_, Err(CommitError::Conflict { .. })) => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }
    let winner = winner.expect("one claim is made");
    assert_eq!(journal.machine(row.id()).await?, Some(winner.clone()));
    for number in 0..16 {
        let id = StageId::new(format!("{}-{number}", fixture.pool));
        let there = journal.stage(&id).await?.is_some();
        assert_eq!(
            there,
            winner.stage == Some(id),
            "a stage without its machine"
        );
    }
    Ok(())
}
