//! The journal in a file on a disk that fails: what was refused is never there
//! again, whatever happens next.
//!
//! The process under test is this program again, with a library before the
//! system's that fails to sync on demand. It ends as a kill ends it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{Batch, CommitError, Note, RowKey};
use vmpool_core::{Journal, PoolName, StageId, Term};
use vmpool_store::SqliteJournal;

type Tested = Result<(), Box<dyn std::error::Error>>;

const LIBRARY: &str = include_str!("sync_fails.c");

fn note(name: &str) -> Batch {
    Batch {
        at: Timestamp(1),
        pool: PoolName::new("pool"),
        term: Term(1),
        limit: None,
        changes: Vec::new(),
        notes: vec![Note {
            key: RowKey::Stage(StageId::new(name)),
            what: "noted",
            cause: "x".repeat(20_000).into(),
        }],
    }
}

async fn names(journal: &SqliteJournal) -> Result<Vec<String>, vmpool_core::journal::JournalError> {
    let events = journal.events(0, 1_000).await?.into_iter();
    Ok(events.map(|event| event.key.to_string()).collect())
}

struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("sync_fails.c");
        fs::write(&source, LIBRARY)?;
        let built = Command::new("gcc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(folder.path().join("sync_fails.so"))
            .arg(&source)
            .arg("-ldl")
            .status()?;
        assert!(built.success(), "the library that fails can't be built");
        Ok(Self { folder })
    }

    /// Plays `story` in a process on this disk.
    fn play(&self, story: &str) -> Result<Output, std::io::Error> {
        let at = |name: &str| self.folder.path().join(name);
        Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "--nocapture", story])
            .env("LD_PRELOAD", at("sync_fails.so"))
            .env("VMPOOL_TEST_SYNC_FAILS", at("fails"))
            .env("VMPOOL_TEST_JOURNAL", at("vmpool.db"))
            .output()
    }

    /// What the next start finds.
    async fn found(&self) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let journal = SqliteJournal::open(self.folder.path().join("vmpool.db"))?;
        Ok(names(&journal).await?)
    }
}

fn from_env(name: &str) -> PathBuf {
    std::env::var_os(name).map(PathBuf::from).expect(name)
}

/// As a kill ends a process: nothing is closed.
fn end() -> ! {
    println!("played");
    std::process::abort()
}

fn played(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("played"), "{said}{why}");
}

#[tokio::test]
#[ignore = "played by a test below"]
async fn the_disk_fails_once() -> Tested {
    let fails = from_env("VMPOOL_TEST_SYNC_FAILS");
    let journal = SqliteJournal::open(from_env("VMPOOL_TEST_JOURNAL"))?;
    journal.commit(note("first")).await?;
    fs::write(&fails, "")?;
    let refused = journal.commit(note("refused")).await;
    assert!(!fails.exists(), "nothing was synced");
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(names(&journal).await?, ["stage first"]);
    end()
}

#[tokio::test]
async fn p5_a_commit_that_the_disk_refused_once_is_not_there_after_a_kill() -> Tested {
    let disk = Disk::new()?;
    played(&disk.play("the_disk_fails_once")?);
    assert_eq!(disk.found().await?, ["stage first"]);
    Ok(())
}

#[tokio::test]
#[ignore = "played by a test below"]
async fn the_disk_fails_for_a_while() -> Tested {
    let fails = from_env("VMPOOL_TEST_SYNC_FAILS");
    let journal = SqliteJournal::open(from_env("VMPOOL_TEST_JOURNAL"))?;
    journal.commit(note("first")).await?;
    fs::write(&fails, "always")?;
    let doubtful = journal.commit(note("doubtful")).await;
    assert!(
        matches!(doubtful, Err(CommitError::Ambiguous { .. })),
        "{doubtful:?}"
    );
    // Nobody can say yet what is there.
    assert!(names(&journal).await.is_err());
    let refused = journal.commit(note("refused")).await;
    assert!(
        matches!(refused, Err(CommitError::Unavailable { .. })),
        "{refused:?}"
    );
    fs::remove_file(&fails)?;
    assert_eq!(names(&journal).await?, ["stage first"], "read back");
    end()
}

#[tokio::test]
async fn p5_what_was_read_back_after_a_doubt_is_what_is_there_after_a_kill() -> Tested {
    let disk = Disk::new()?;
    played(&disk.play("the_disk_fails_for_a_while")?);
    assert_eq!(disk.found().await?, ["stage first"]);
    Ok(())
}

#[test]
#[ignore = "played by a test below"]
fn the_disk_fails_below_bare_sqlite() -> Tested {
    let conn = rusqlite::Connection::open(from_env("VMPOOL_TEST_JOURNAL"))?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.execute_batch("CREATE TABLE numbers (number); INSERT INTO numbers VALUES (1)")?;
    fs::write(from_env("VMPOOL_TEST_SYNC_FAILS"), "always")?;
    let failed = conn.execute("INSERT INTO numbers VALUES (2)", []);
    assert!(failed.is_err(), "nothing was synced");
    let count: i32 = conn.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))?;
    assert_eq!(count, 1, "it is not seen");
    end()
}

/// What the tests above guard against is real.
#[test]
fn a_commit_that_failed_comes_back_after_a_kill_where_nobody_writes_over_it() -> Tested {
    let disk = Disk::new()?;
    played(&disk.play("the_disk_fails_below_bare_sqlite")?);
    let conn = rusqlite::Connection::open(disk.folder.path().join("vmpool.db"))?;
    let count: i32 = conn.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))?;
    assert_eq!(count, 2, "it came back");
    Ok(())
}
