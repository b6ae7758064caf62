//! The journal in a file: what every journal must keep, and what is its own.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rusqlite::Connection;
use vmpool_core::journal::{Batch, CommitError};
use vmpool_core::testkit::conformance;
use vmpool_core::{Journal as _, Term, Timestamp};
use vmpool_store::{OpenError, SqliteJournal};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_what_every_journal_must() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmpool.db");
    let journal = Arc::new(SqliteJournal::open(&path).unwrap());
    conformance::all(journal.clone()).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "P11: nobody else can read it");
    let other = SqliteJournal::open(dir.path().join("other.db")).unwrap();
    conformance::old_rows_are_forgotten(Arc::new(other)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_reads_beside_the_runner_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmpool.db");
    assert!(matches!(
        SqliteJournal::open_reading(&path),
        Err(OpenError::File { .. })
    ));
    let journal = SqliteJournal::open(&path).unwrap();
    let term = journal.raise_term(&"p".into(), Timestamp(7)).await.unwrap();
    let reader = SqliteJournal::open_reading(&path).unwrap();
    let pools = reader.pools(Timestamp(8)).await.unwrap();
    assert_eq!((pools.len(), pools[0].term), (1, term));
    let batch = Batch {
        at: Timestamp(8),
        pool: "p".into(),
        term: Term(9),
        limit: None,
        changes: vec![],
        notes: vec![],
    };
    let refused = reader.commit(batch).await;
    assert!(matches!(refused, Err(CommitError::Unavailable { .. })));
    let copy = dir.path().join("copy.db");
    reader.backup(&copy).await.unwrap();
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let copy = SqliteJournal::open(&copy).unwrap();
    assert_eq!(copy.pools(Timestamp(8)).await.unwrap(), pools);
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_refused_with_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmpool.db");
    drop(SqliteJournal::open(&path).unwrap());
    let sql = Connection::open(&path).unwrap();
    sql.execute("UPDATE refinery_schema_history SET version = 99", ())
        .unwrap();
    for refused in [
        SqliteJournal::open(&path).unwrap_err(),
        SqliteJournal::open_reading(&path).unwrap_err(),
    ] {
        let said = refused.to_string();
        assert!(
            said.contains("version 99") && said.contains("up to 1"),
            "{said}"
        );
    }
}
