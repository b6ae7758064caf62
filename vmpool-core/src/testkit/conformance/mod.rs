//! What every journal must keep: one suite for memory, SQLite, and any journal
//! of an embedder's own.
//!
//! Each case panics with what was not kept. The cases share a journal and use
//! names of their own, so that they can run one after the other on one database.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use self::rows::{Fixture, batch, machine, order, stage, step};
use crate::clock::Timestamp;
use crate::id::{MachineId, PoolName, RunnerId, StageId, Term, Version};
use crate::journal::{
    Batch, Change, CommitError, Holder, Journal, JournalError, MachineRow, Note, Retention, RowKey,
    Taken,
};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::stage::{StageEnd, StageState};

/// All cases, one after the other.
///
/// # Errors
/// The journal failed at something that it must be able to do.
///
/// # Panics
/// It does not keep what it must.
pub async fn all(journal: Arc<dyn Journal>) -> Result<(), JournalError> {
    a_batch_is_made_whole_or_not_at_all(&journal).await?;
    a_row_is_changed_once_in_a_batch(&journal).await?;
    versions_are_held_against_each_other_before_the_limit(&journal).await?;
    p7_the_limit_counts_open_slots_and_living_machines(&journal).await?;
    p7_a_machine_that_another_pool_writes_down_as_its_own_frees_its_slot(&journal).await?;
    p2_of_many_claims_of_one_machine_one_is_made(&journal).await?;
    a_lower_term_is_refused(&journal).await?;
    a_pool_is_taken_when_its_lease_is_over(&journal).await?;
    what_is_not_over_is_what_a_pool_goes_on_with(&journal).await?;
    events_and_notes_are_told_in_their_order(&journal).await?;
    the_ledger_has_every_machine_page_by_page(&journal).await?;
    compaction_forgets_nothing_that_is_not_over(&journal).await
}

async fn fixture(journal: &Arc<dyn Journal>, name: &str) -> Result<Fixture, JournalError> {
    let pool = PoolName::new(format!("{name}-{}", uuid::Uuid::new_v4().simple()));
    let now = Timestamp(1_000_000);
    let term = journal.raise_term(&pool, now).await?;
    Ok(Fixture { pool, term, now })
}

async fn a_batch_is_made_whole_or_not_at_all(
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

async fn a_row_is_changed_once_in_a_batch(journal: &Arc<dyn Journal>) -> Result<(), JournalError> {
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

async fn versions_are_held_against_each_other_before_the_limit(
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

async fn p7_the_limit_counts_open_slots_and_living_machines(
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

async fn p7_a_machine_that_another_pool_writes_down_as_its_own_frees_its_slot(
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

async fn p2_of_many_claims_of_one_machine_one_is_made(
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

async fn a_lower_term_is_refused(journal: &Arc<dyn Journal>) -> Result<(), JournalError> {
    let fixture = fixture(journal, "terms").await?;
    assert!(
        fixture.term >= Term(fixture.now.0),
        "a term is at least the time"
    );
    let higher = journal.raise_term(&fixture.pool, Timestamp(0)).await?;
    assert!(higher > fixture.term, "each term is higher than the last");
    let changes = vec![Change::new(machine(&fixture, "one"), "booting", "a test")];
    let refused = journal.commit(batch(&fixture, changes)).await;
    assert!(
        matches!(&refused, Err(CommitError::Fenced { ours, theirs, .. })
            if *ours == fixture.term && *theirs == higher),
        "{refused:?}"
    );
    Ok(())
}

async fn a_pool_is_taken_when_its_lease_is_over(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let pool = PoolName::new(format!("lease-{}", uuid::Uuid::new_v4().simple()));
    let holder = |name: &str| Holder {
        runner: RunnerId::new(name),
        url: format!("https://{name}").into(),
    };
    let (one, other) = (holder("one"), holder("other"));
    // A journal may have a clock of its own, so the leases are long or given up.
    let hour = Duration::from_hours(1);
    let now = Timestamp(5_000_000);
    let Taken::Ours(first) = journal.take(&pool, &one, hour, now).await? else {
        panic!("a pool that nobody has is to be had");
    };
    match journal.take(&pool, &other, hour, now).await? {
        Taken::Theirs(theirs) => {
            assert_eq!((&theirs.holder, theirs.term), (&one, first));
            assert!(!theirs.left.is_zero() && theirs.left <= hour, "{theirs:?}");
        }
        Taken::Ours(_) => panic!("two hold one pool"),
    }
    let Taken::Ours(second) = journal.take(&pool, &one, hour, now).await? else {
        panic!("a runner that restarts takes its pool again");
    };
    assert!(second > first, "a restart is another term");
    assert!(
        !journal.renew(&pool, first, hour, now).await?,
        "an old term renews"
    );
    assert!(journal.renew(&pool, second, hour, now).await?);
    journal.give_up(&pool, first, now).await?;
    assert!(matches!(
        journal.take(&pool, &other, hour, now).await?,
        Taken::Theirs(_)
    ));
    journal.give_up(&pool, second, now).await?;
    let later = now.after(Duration::from_millis(1));
    let Taken::Ours(third) = journal.take(&pool, &other, hour, later).await? else {
        panic!("a pool that was given up is to be had at once");
    };
    assert!(third > second);
    let known = journal.pools(later).await?;
    let known = known.iter().find(|known| known.pool == pool);
    let known = known.expect("a pool that has an owner is listed");
    assert_eq!((&known.holder, known.term), (&other, third));
    Ok(())
}

async fn what_is_not_over_is_what_a_pool_goes_on_with(
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

async fn events_and_notes_are_told_in_their_order(
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

async fn the_ledger_has_every_machine_page_by_page(
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

async fn compaction_forgets_nothing_that_is_not_over(
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
