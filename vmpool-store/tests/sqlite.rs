//! The journal in a file: it keeps what every journal must, and what was
//! answered is there however the process ended.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{Batch, CommitError, Note, Retention, RowKey};
use vmpool_core::testkit::conformance;
use vmpool_core::{Journal, PoolName, StageId, Term};
use vmpool_store::{OpenError, SqliteJournal, SqliteOptions};

type Tested = Result<(), Box<dyn std::error::Error>>;

fn note(number: u64, cause: String) -> Batch {
    Batch {
        at: Timestamp(number),
        pool: PoolName::new("pool"),
        term: Term(1),
        limit: None,
        changes: Vec::new(),
        notes: vec![Note {
            key: RowKey::Stage(StageId::new(number.to_string())),
            what: "noted",
            cause: cause.into(),
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_keeps_what_every_journal_must() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vmpool.db");
    conformance::all(Arc::new(SqliteJournal::open(&path)?)).await?;
    // Opened again, it is the same journal; nobody else may read it.
    conformance::all(Arc::new(SqliteJournal::open(&path)?)).await?;
    assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[tokio::test]
async fn p1_a_schema_is_made_whole_or_not_at_all() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vmpool.db");
    // The note that the schema was made can't be written: as if killed before it.
    let conn = rusqlite::Connection::open(&path)?;
    conn.execute_batch(
        "CREATE TABLE refinery_schema_history(
             version int4 PRIMARY KEY, name VARCHAR(255),
             applied_on VARCHAR(255), checksum VARCHAR(255));
         CREATE TRIGGER killed BEFORE INSERT ON refinery_schema_history
             BEGIN SELECT RAISE(ABORT, 'killed'); END;",
    )?;
    let refused = SqliteJournal::open(&path);
    assert!(
        matches!(refused, Err(OpenError::Migrate { .. })),
        "{refused:?}"
    );
    conn.execute_batch("DROP TRIGGER killed")?;
    let journal = SqliteJournal::open(&path)?;
    journal.commit(note(1, "first".to_owned())).await?;
    Ok(())
}

#[tokio::test]
async fn a_reader_beside_the_runner_sees_what_was_answered_and_writes_nothing() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vmpool.db");
    let journal = SqliteJournal::open(&path)?;
    let reader = SqliteJournal::open_read_only(&path)?;
    journal.commit(note(1, "first".to_owned())).await?;
    assert_eq!(reader.events(0, 10).await?.len(), 1);
    let refused = reader.commit(note(2, "second".to_owned())).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_journal_of_a_newer_release_is_refused_with_both_versions() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vmpool.db");
    drop(SqliteJournal::open(&path)?);
    let conn = rusqlite::Connection::open(&path)?;
    conn.execute(
        "INSERT INTO refinery_schema_history VALUES (99, 'later', '2099-01-01T00:00:00Z', '0')",
        [],
    )?;
    drop(conn);
    let refused = SqliteJournal::open(&path);
    assert!(
        matches!(
            refused,
            Err(OpenError::Newer {
                found: 99,
                known: 3,
                ..
            })
        ),
        "{refused:?}"
    );
    let text = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(text.contains("99") && text.contains('3'), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_stops_writes_with_a_reason_and_loses_nothing() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vmpool.db");
    let options = SqliteOptions {
        size_limit: Some(256 << 10),
    };
    let journal = SqliteJournal::open_with(&path, options)?;
    let mut answered = 0;
    let reason = loop {
        match journal
            .commit(note(answered + 1, "x".repeat(8 << 10)))
            .await
        {
            Ok(()) => answered += 1,
            Err(CommitError::Unavailable { reason }) => break reason,
            Err(other) => panic!("a full disk is no doubt: {other}"),
        }
        assert!(answered < 1_000, "the limit has no effect");
    };
    assert!(reason.contains("no space"), "{reason}");
    assert_eq!(journal.events(0, 1_000).await?.len() as u64, answered);
    drop(journal);
    // With room again it goes on by itself.
    let journal = SqliteJournal::open(&path)?;
    journal
        .commit(note(answered + 1, "room again".to_owned()))
        .await?;
    assert_eq!(journal.events(0, 1_000).await?.len() as u64, answered + 1);
    Ok(())
}

/// The process that is killed: commits and says so, until it is.
#[tokio::test]
#[ignore = "started by the test below"]
async fn commit_until_killed() -> Tested {
    let path = std::env::var_os("VMPOOL_TEST_JOURNAL").ok_or("no journal was named")?;
    let journal = Arc::new(SqliteJournal::open(path)?);
    for round in 0_u64.. {
        let mut commits = JoinSet::new();
        for number in round * 4 + 1..=round * 4 + 4 {
            let journal = journal.clone();
            commits
                .spawn(async move { (number, journal.commit(note(number, "kept".into())).await) });
        }
        while let Some(done) = commits.join_next().await {
            let (number, committed) = done?;
            committed?;
            println!("answered {number}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn p5_what_was_answered_is_there_after_a_kill() -> Tested {
    let folder = tempfile::tempdir()?;
    for (round, answers) in [1, 7, 40, 150].into_iter().enumerate() {
        let path = folder.path().join(format!("{round}.db"));
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "--nocapture", "commit_until_killed"])
            .env("VMPOOL_TEST_JOURNAL", &path)
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("it has no output")?).lines();
        let mut answered = Vec::new();
        for line in lines {
            if let Some((_, number)) = line?.split_once("answered ") {
                answered.push(number.to_owned());
            }
            if answered.len() == answers {
                child.kill()?;
            }
        }
        child.wait()?;
        assert!(answered.len() >= answers, "it ended by itself");
        let journal = SqliteJournal::open(&path)?;
        let events = journal.events(0, 1_000_000).await?;
        for number in answered {
            let key = RowKey::Stage(StageId::new(number.as_str()));
            let kept = events.iter().filter(|event| event.key == key).count();
            assert_eq!(kept, 1, "{number} was answered and is not there once");
        }
    }
    Ok(())
}

/// Writers that never pause, a reader beside them, and a compaction.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_short_though_nobody_pauses() -> Tested {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("vmpool.db");
    let journal = Arc::new(SqliteJournal::open(&path)?);
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let journal = journal.clone();
        writers.spawn(async move {
            for number in 0..250 {
                let number = writer * 1_000 + number + 1;
                journal.commit(note(number, "x".repeat(10_000))).await?;
            }
            Ok::<_, CommitError>(())
        });
    }
    let log = folder.path().join("vmpool.db-wal");
    let youngest = Retention {
        events_for: Duration::ZERO,
        events_most: 100,
        ended_for: Duration::ZERO,
    };
    let mut longest = 0;
    while !writers.is_empty() {
        journal.events(0, 10).await?;
        journal.compact(youngest, Timestamp(1)).await?;
        longest = longest.max(log.metadata()?.len());
        while let Some(done) = writers.try_join_next() {
            done??;
        }
    }
    // 40 MB were written.
    assert!(longest < 20 << 20, "the log grew to {longest} bytes");
    journal.compact(youngest, Timestamp(1 << 40)).await?;
    assert_eq!(journal.events(0, 1_000).await?.len(), 0);
    Ok(())
}
