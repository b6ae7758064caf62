//! The journal in PostgreSQL: it keeps what every journal must, over kills of
//! the server, and pools are shared by the database's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, Change, CommitError, Event, Holder, Note, RowKey, StageRow, Taken,
};
use vmpool_core::stage::StageState;
use vmpool_core::testkit::conformance;
use vmpool_core::{Journal, MachineId, PoolName, RunnerId, StageId, Term, Version};
use vmpool_store::testkit::Cluster;
use vmpool_store::{ConnectError, PostgresJournal};

type Tested = Result<(), Box<dyn std::error::Error>>;

/// A batch of two notes, so that half of one shows.
fn notes(number: u64) -> Batch {
    let note = |what| Note {
        key: RowKey::Stage(StageId::new(number.to_string())),
        what,
        cause: "a test".into(),
    };
    Batch {
        at: Timestamp(number),
        pool: PoolName::new("pool"),
        term: Term(1),
        limit: None,
        changes: Vec::new(),
        notes: vec![note("first"), note("second")],
    }
}

fn holder(name: &str) -> Holder {
    Holder {
        runner: RunnerId::new(name),
        url: format!("https://{name}").into(),
    }
}

async fn all_events(journal: &PostgresJournal) -> Result<Vec<Event>, Box<dyn std::error::Error>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match journal.events(0, 1_000_000).await {
            Ok(events) => return Ok(events),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_numbered_without_gaps(events: &[Event]) {
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event.seq, place as u64 + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_keeps_what_every_journal_must() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    conformance::all(Arc::new(PostgresJournal::connect(&url).await?)).await?;
    // Connected to again, it is the same journal.
    let journal = PostgresJournal::connect(&url).await?;
    conformance::all(Arc::new(journal)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_runners_that_start_at_once_migrate_once() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    let mut starts = JoinSet::new();
    for number in 0..8 {
        let url = url.clone();
        starts.spawn(async move {
            let journal = PostgresJournal::connect(&url).await.expect("it connects");
            journal.commit(notes(number)).await
        });
    }
    while let Some(started) = starts.join_next().await {
        started??;
    }
    let journal = PostgresJournal::connect_read_only(&url).await?;
    let events = all_events(&journal).await?;
    assert_eq!(events.len(), 16);
    assert_numbered_without_gaps(&events);
    let refused = journal.commit(notes(9)).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_schema_is_made_whole_or_not_at_all() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    // The note that the schema was made can't be written: as if killed before it.
    execute(
        &url,
        "CREATE TABLE refinery_schema_history(
             version int4 PRIMARY KEY, name VARCHAR(255),
             applied_on VARCHAR(255), checksum VARCHAR(255));
         CREATE FUNCTION killed() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE 'killed'; END $$;
         CREATE TRIGGER killed BEFORE INSERT ON refinery_schema_history
             FOR EACH ROW EXECUTE FUNCTION killed();",
    )
    .await?;
    let refused = PostgresJournal::connect(&url).await;
    assert!(
        matches!(refused, Err(ConnectError::Migrate { .. })),
        "{refused:?}"
    );
    execute(&url, "DROP TRIGGER killed ON refinery_schema_history").await?;
    let journal = PostgresJournal::connect(&url).await?;
    journal.commit(notes(1)).await?;
    Ok(())
}

/// A batch that makes a stage's first row.
fn claim(stage: &str, by: &str, term: u64) -> Batch {
    let at = Timestamp(1);
    let row = StageRow {
        id: StageId::new(stage),
        pool: PoolName::new("pool"),
        machine: MachineId::new(by),
        term: Term(term),
        state: StageState::Claimed,
        hash: None,
        claimed_at: at,
        deadline: at,
        tried: Vec::new(),
        version: Version(1),
    };
    Batch {
        at,
        pool: PoolName::new("pool"),
        term: Term(term),
        limit: None,
        changes: vec![Change::new(Arc::new(row), "claimed", by.to_owned())],
        notes: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_is_refused_of_a_group_takes_nothing_else_along() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    let journal = Arc::new(PostgresJournal::connect(&url).await?);
    let pool = PoolName::new("pool");
    let term = journal.raise_term(&pool, Timestamp(5)).await?;
    let mut commits = JoinSet::new();
    // Written at once, so that they wait for each other: each stage is claimed
    // twice, and once more by a runner that rules no more.
    for number in 0..60 {
        for (by, term) in [("one", term.0), ("other", term.0), ("late", term.0 - 1)] {
            let journal = journal.clone();
            let batch = claim(&format!("stage-{number}"), by, term);
            commits.spawn(async move { (number, by, journal.commit(batch).await) });
        }
    }
    let mut won = [0; 60];
    while let Some(done) = commits.join_next().await {
        match done? {
            (number, "one" | "other", Ok(())) => won[number] += 1,
            (_, "one" | "other", Err(CommitError::Conflict { found, .. })) => {
                assert_eq!(found, Some(Version(1)));
            }
            (_, "late", Err(CommitError::Fenced { theirs, .. })) => assert_eq!(theirs, term),
            (number, by, answer) => panic!("stage-{number} by {by}: {answer:?}"),
        }
    }
    assert_eq!(won, [1; 60]);
    let events = all_events(&journal).await?;
    assert_eq!(events.len(), 60);
    assert_numbered_without_gaps(&events);
    for event in events {
        let RowKey::Stage(id) = event.key else {
            panic!("{event:?}");
        };
        let known = journal.stage(&id).await?.expect("it was claimed").stage;
        assert_eq!(event.cause, known.machine.as_str());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_release_is_refused_with_both_versions() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    let refused = PostgresJournal::connect_read_only(&url).await;
    assert!(
        matches!(refused, Err(ConnectError::Older { found: 0, .. })),
        "{refused:?}"
    );
    drop(PostgresJournal::connect(&url).await?);
    execute(
        &url,
        "INSERT INTO refinery_schema_history VALUES (99, 'later', '2099-01-01T00:00:00Z', '0')",
    )
    .await?;
    let refused = PostgresJournal::connect(&url).await;
    let Err(ConnectError::Newer { found: 99, .. }) = &refused else {
        panic!("{refused:?}");
    };
    let text = refused.err().map(|error| error.to_string());
    let text = text.unwrap_or_default();
    assert!(text.contains("99") && text.contains("newer"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_database_that_does_not_sync_is_refused() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    execute(&url, "ALTER DATABASE journal SET synchronous_commit = off").await?;
    let refused = PostgresJournal::connect(&url).await;
    let Err(ConnectError::Unfit { reason, .. }) = &refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("synchronous_commit"), "{reason}");
    Ok(())
}

/// What was answered is there; what is in doubt is there whole or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn p5_what_was_answered_is_there_after_the_server_was_killed() -> Tested {
    let cluster = Arc::new(Cluster::start());
    let url = cluster.database("journal");
    let journal = Arc::new(PostgresJournal::connect(&url).await?);
    let mut next = 0;
    let mut answered = Vec::new();
    let mut refused = Vec::new();
    let mut doubtful = 0;
    for _ in 0..4 {
        let is_dead = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (journal, is_dead) = (journal.clone(), is_dead.clone());
            let from = next + caller * 1_000_000;
            callers.spawn(async move {
                let mut said = Vec::new();
                for number in from.. {
                    let answer = journal.commit(notes(number)).await;
                    let goes_on = answer.is_ok() && !is_dead.load(Ordering::Acquire);
                    said.push((number, answer));
                    if !goes_on {
                        break;
                    }
                }
                said
            });
        }
        next += 8_000_000;
        // In the middle of it: some were answered since the last kill.
        let before = all_events(&journal).await?.len();
        while all_events(&journal).await?.len() < before + 40 {}
        let killed = cluster.clone();
        spawn_blocking(move || killed.kill()).await?;
        is_dead.store(true, Ordering::Release);
        while let Some(said) = callers.join_next().await {
            for (number, answer) in said? {
                match answer {
                    Ok(()) => answered.push(number),
                    Err(CommitError::Ambiguous { .. }) => doubtful += 1,
                    Err(CommitError::Unavailable { .. }) => refused.push(number),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        let again = cluster.clone();
        spawn_blocking(move || again.restart()).await?;
    }
    // The journal found the database again by itself.
    let events = all_events(&journal).await?;
    assert_numbered_without_gaps(&events);
    let count = |number: u64| {
        let key = RowKey::Stage(StageId::new(number.to_string()));
        events.iter().filter(|event| event.key == key).count()
    };
    for number in &answered {
        assert_eq!(count(*number), 2, "{number} was answered");
    }
    for number in &refused {
        assert_eq!(count(*number), 0, "{number} was refused");
    }
    for pair in events.chunks(2) {
        assert_eq!(pair.len(), 2, "half of a batch was made");
        assert_eq!(pair[0].key, pair[1].key, "half of a batch was made");
    }
    println!(
        "answered {}, refused {}, in doubt {doubtful}",
        answered.len(),
        refused.len()
    );
    Ok(())
}

/// A database that is silent is no longer waited for; what was in doubt then
/// stays as it is read back, whatever the server still had to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_doubt_is_decided_before_it_is_read_back() -> Tested {
    let cluster = Arc::new(Cluster::start());
    let url = cluster.database("journal");
    let journal = Arc::new(PostgresJournal::connect(&url).await?);
    journal.commit(notes(1)).await?;
    cluster.freeze();
    let began = Instant::now();
    let answer = journal.commit(notes(2)).await;
    assert!(
        matches!(answer, Err(CommitError::Ambiguous { .. })),
        "{answer:?}"
    );
    let later = journal.commit(notes(3)).await;
    assert!(
        matches!(later, Err(CommitError::Unavailable { .. })),
        "a silent database takes no writes: {later:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "every commit ends"
    );
    cluster.thaw();
    let events = all_events(&journal).await?;
    journal.commit(notes(4)).await?;
    let kept = all_events(&journal).await?;
    assert_eq!(kept[..events.len()], events[..], "what was read back stays");
    assert_eq!(kept.len(), events.len() + 2, "what was in doubt came back");
    assert_numbered_without_gaps(&kept);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_told_of_at_once_and_used_again_when_it_is_back() -> Tested {
    let cluster = Arc::new(Cluster::start());
    let url = cluster.database("journal");
    let journal = PostgresJournal::connect(&url).await?;
    journal.commit(notes(1)).await?;
    let pool = PoolName::new("pool");
    let hour = Duration::from_hours(1);
    cluster.kill();
    // The first may find out only now that its connection is gone.
    let _ = journal.commit(notes(2)).await;
    let refused = journal.commit(notes(3)).await;
    let Err(CommitError::Unavailable { reason }) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("127.0.0.1"), "{reason}");
    assert!(journal.pool(&pool).await.is_err());
    let one = holder("one");
    let taken = journal.take(&pool, &one, hour, Timestamp(1)).await;
    assert!(taken.is_err());
    let cold = PostgresJournal::connect(&url).await;
    assert!(
        matches!(cold, Err(ConnectError::Database { .. })),
        "{cold:?}"
    );
    cluster.restart();
    journal.commit(notes(4)).await?;
    let taken = journal.take(&pool, &one, hour, Timestamp(1)).await?;
    assert!(matches!(taken, Taken::Ours(_)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_runners_that_take_a_pool_at_once_one_has_it() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    let journals = [
        Arc::new(PostgresJournal::connect(&url).await?),
        Arc::new(PostgresJournal::connect(&url).await?),
    ];
    for round in 0..20 {
        let pool = PoolName::new(format!("pool-{round}"));
        let mut takes = JoinSet::new();
        for number in 0..8 {
            let journal = journals[number % 2].clone();
            let (pool, holder) = (pool.clone(), holder(&number.to_string()));
            takes.spawn(async move {
                let hour = Duration::from_hours(1);
                let taken = journal.take(&pool, &holder, hour, Timestamp(1)).await;
                (holder, taken)
            });
        }
        let mut owners = Vec::new();
        let mut told = Vec::new();
        while let Some(done) = takes.join_next().await {
            match done? {
                (holder, Ok(Taken::Ours(_))) => owners.push(holder),
                (_, Ok(Taken::Theirs(theirs))) => told.push(theirs.holder),
                (_, Err(error)) => return Err(error.into()),
            }
        }
        assert_eq!(owners.len(), 1, "{owners:?}");
        assert!(told.iter().all(|holder| *holder == owners[0]), "{told:?}");
    }
    Ok(())
}

/// Two runners write to pools of both; a third reads along.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_the_events_misses_none() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    let journals = [
        Arc::new(PostgresJournal::connect(&url).await?),
        Arc::new(PostgresJournal::connect(&url).await?),
    ];
    let reader = PostgresJournal::connect_read_only(&url).await?;
    let mut writers = JoinSet::new();
    for writer in 0..8_u64 {
        let journal = journals[usize::from(writer % 2 == 0)].clone();
        writers.spawn(async move {
            for number in 0..40 {
                let batch = Batch {
                    pool: PoolName::new(format!("pool-{}", number % 3)),
                    ..notes(writer * 1_000 + number)
                };
                journal.commit(batch).await?;
            }
            Ok::<_, CommitError>(())
        });
    }
    let mut last = 0;
    while last < 2 * 8 * 40 {
        // In pages that cut batches in two.
        for event in reader.events(last, 7).await? {
            assert_eq!(event.seq, last + 1, "an event was missed");
            last = event.seq;
        }
        while let Some(wrote) = writers.try_join_next() {
            wrote??;
        }
    }
    assert!(reader.events(last, 1).await?.is_empty());
    Ok(())
}

/// The callers' clocks say whatever they like.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_by_the_databases_clock() -> Tested {
    let cluster = Cluster::start();
    let journal = PostgresJournal::connect(&cluster.database("journal")).await?;
    let pool = PoolName::new("pool");
    let (past, future) = (Timestamp(0), Timestamp(1 << 50));
    let hour = Duration::from_hours(1);
    let Taken::Ours(_) = journal.take(&pool, &holder("one"), hour, past).await? else {
        panic!("nobody has it");
    };
    let taken = journal.take(&pool, &holder("other"), hour, future).await?;
    assert!(matches!(taken, Taken::Theirs(_)), "{taken:?}");
    let Taken::Ours(term) = journal
        .take(&pool, &holder("one"), Duration::from_millis(300), future)
        .await?
    else {
        panic!("it is ours");
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let next = loop {
        match journal.take(&pool, &holder("other"), hour, past).await? {
            Taken::Ours(next) => break next,
            Taken::Theirs(theirs) => assert!(theirs.left <= Duration::from_millis(300)),
        }
        assert!(Instant::now() < deadline, "the lease does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(next > term);
    assert!(!journal.renew(&pool, term, hour, past).await?);
    // What the old owner writes is refused from then on.
    let fenced = Batch { term, ..notes(1) };
    let refused = journal.commit(fenced).await;
    assert!(
        matches!(refused, Err(CommitError::Fenced { theirs, .. }) if theirs == next),
        "{refused:?}"
    );
    Ok(())
}

/// One bad batch does not fail those that wait with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_database_can_not_write_fails_alone() -> Tested {
    let cluster = Cluster::start();
    let journal = Arc::new(PostgresJournal::connect(&cluster.database("journal")).await?);
    let mut commits = JoinSet::new();
    for number in 1..=50 {
        let mut batch = notes(number);
        if number % 10 == 0 {
            // No text of this database may have such a character.
            batch.notes[0].key = RowKey::Stage(StageId::new("a\0b"));
        }
        let journal = journal.clone();
        commits.spawn(async move { (number, journal.commit(batch).await) });
    }
    while let Some(done) = commits.join_next().await {
        match done? {
            (number, Ok(())) => assert_ne!(number % 10, 0),
            (number, Err(CommitError::Unavailable { .. })) => assert_eq!(number % 10, 0),
            (_, Err(other)) => panic!("{other}"),
        }
    }
    // A cause may have one: consoles say what they like.
    let mut batch = notes(51);
    batch.notes[0].cause = "dead\0".into();
    journal.commit(batch).await?;
    let events = all_events(&journal).await?;
    assert_eq!(events.len(), 2 * 46);
    assert_numbered_without_gaps(&events);
    Ok(())
}

async fn execute(url: &str, sql: &str) -> Tested {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    client.batch_execute(sql).await?;
    Ok(())
}
