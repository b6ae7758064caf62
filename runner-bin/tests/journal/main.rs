//! `vmpool journal` as its users meet it: the binary, beside a runner's journal.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use vmpool_core::journal::{
    Batch, Change, Journal, MachineRow, Note, OrderRow, Row, RowKey, StageRow, StepRow,
};
use vmpool_core::machine::MachineState;
use vmpool_core::order::OrderState;
use vmpool_core::stage::StageState;
use vmpool_core::{
    Attempt, Clock, Machine, MachineId, PoolName, StageId, Term, Timestamp, Version,
};
use vmpool_store::testkit::Cluster;
use vmpool_store::{PostgresJournal, SqliteJournal};

type Tested = Result<(), Box<dyn Error>>;

const SEALED: &[u8] = b"what is sealed";

fn vmpool(command: &str, arguments: &[&str], state: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vmpool"))
        .args(["journal", command, "--state"])
        .arg(state)
        .args(arguments)
        .env_remove("VMPOOL_JOURNAL")
        .output()
        .expect("vmpool runs")
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn machine(id: &str, state: MachineState, stage: Option<&str>) -> Row {
    Row::Machine(Arc::new(MachineRow {
        machine: Arc::new(Machine {
            id: MachineId::new(id),
            pool: PoolName::new("linux"),
            order: "order".into(),
            attempt: Attempt(1),
            address: None,
            key: None,
        }),
        state,
        since: Timestamp(1),
        cause: "a test".into(),
        stage: stage.map(StageId::new),
        spec: None,
        launched_at: Timestamp(1),
        expires_at: Timestamp(1),
        called_at: None,
        hold: None,
        version: Version(1),
    }))
}

fn stage(id: &str, machine: &str, term: Term) -> Row {
    Row::Stage(Arc::new(StageRow {
        id: StageId::new(id),
        pool: PoolName::new("linux"),
        machine: MachineId::new(machine),
        term,
        state: StageState::Prepared,
        hash: None,
        claimed_at: Timestamp(1),
        deadline: Timestamp(1),
        tried: Vec::new(),
        version: Version(1),
    }))
}

async fn write(journal: &dyn Journal, term: Term, rows: Vec<Row>) -> Tested {
    let changes = rows.into_iter();
    let batch = Batch {
        at: Clock::system().now(),
        pool: PoolName::new("linux"),
        term,
        limit: None,
        changes: changes
            .map(|row| Change::new(row, "changed", "a test"))
            .collect(),
        notes: Vec::new(),
    };
    Ok(journal.commit(batch).await?)
}

/// A pool with a build on one of two machines.
async fn fill(journal: &dyn Journal) -> Result<Term, Box<dyn Error>> {
    let pool = PoolName::new("linux");
    let term = journal.raise_term(&pool, Clock::system().now()).await?;
    let order = OrderRow {
        id: "order".into(),
        pool,
        attempt: Attempt(1),
        spec: "spec".into(),
        state: OrderState::planned(1),
        sealed: Arc::from(SEALED),
        created_at: Timestamp(1),
        called_at: None,
        expires_at: Timestamp(1),
        version: Version(1),
    };
    let step = StepRow {
        stage: "build".into(),
        id: "test".into(),
        hash: None,
        outcome: None,
        version: Version(1),
    };
    let rows = vec![
        Row::Order(Arc::new(order)),
        machine("one", MachineState::Claimed, Some("build")),
        machine("other", MachineState::Ready, None),
        stage("build", "one", term),
        Row::Step(Arc::new(step)),
    ];
    write(journal, term, rows).await?;
    Ok(term)
}

fn lines(output: &Output) -> Result<Vec<Value>, Box<dyn Error>> {
    let text = String::from_utf8(output.stdout.clone())?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn assert_all_is_told(lines: &[Value]) {
    let kinds: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["kind"].as_str())
        .collect();
    let mut expected = vec!["pool", "order", "machine", "machine", "stage", "step"];
    expected.extend(["event"; 5]);
    assert_eq!(kinds, expected);
    assert_eq!(lines[1]["sealed_bytes"], SEALED.len());
    assert_eq!(lines[2]["row"]["state"], "claimed");
    assert_eq!(lines[5]["step"], "test");
    assert_eq!(lines[6]["seq"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_journal_is_exported_beside_its_runner() -> Tested {
    let state = TempDir::with_prefix("vmpool-journal-")?;
    let journal = SqliteJournal::open(state.path().join("vmpool.db"))?;
    fill(&journal).await?;
    let output = vmpool("export", &[], state.path());
    assert!(output.status.success(), "{}", said(&output));
    assert_all_is_told(&lines(&output)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_rows_that_disagree_and_says_which() -> Tested {
    let state = TempDir::with_prefix("vmpool-journal-")?;
    let journal = SqliteJournal::open(state.path().join("vmpool.db"))?;
    let term = fill(&journal).await?;
    let output = vmpool("check", &[], state.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).starts_with("in order: "), "{}", said(&output));

    let pool_file = state.path().join("pool.yml");
    let file = "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: 1\n  limit: 2\n  \
                platform: {os: linux, arch: amd64}\n";
    fs::write(&pool_file, file)?;
    let pool_file = pool_file.to_str().ok_or("a path is UTF-8")?.to_owned();
    let output = vmpool("check", &["--pool", &pool_file], state.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let limit = "pool linux occupies 3 slots, its limit is 2";
    assert!(said(&output).contains(limit), "{}", said(&output));

    let rows = vec![
        stage("second", "one", term),
        stage("nowhere", "missing", term),
        machine("idle", MachineState::Claimed, None),
    ];
    write(&journal, term, rows).await?;
    let output = vmpool("check", &["--json"], state.path());
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(found["in_order"], false);
    let wrong = found["wrong"].as_array().ok_or("a list")?;
    let expected = [
        "machine idle is claimed by no stage",
        "stage nowhere goes on at machine missing, which is not in the journal",
        "stage second goes on at machine one, which has stage build",
    ];
    assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
    for (line, expected) in wrong.iter().zip(expected) {
        assert_eq!(line, expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_a_damaged_file_and_says_what_to_do() -> Tested {
    let state = TempDir::with_prefix("vmpool-journal-")?;
    let path = state.path().join("vmpool.db");
    let journal = SqliteJournal::open(&path)?;
    let term = fill(&journal).await?;
    for number in 0..200 {
        let id = format!("machine-{number}");
        write(
            &journal,
            term,
            vec![machine(&id, MachineState::Ready, None)],
        )
        .await?;
    }
    let copy = state.path().join("copy");
    fs::create_dir(&copy)?;
    journal.back_up(&copy.join("vmpool.db")).await?;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(copy.join("vmpool.db"))?;
    let bytes = file.metadata()?.len();
    // First such that it can be opened, then such that it can't.
    for first in [bytes / 4096 / 2, 0] {
        for page in first..bytes / 4096 {
            file.write_all_at(&[0xa5; 64], page * 4096)?;
        }
        let output = vmpool("check", &[], &copy);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("damaged"), "{}", said(&output));
        assert!(said(&output).contains("a backup"), "{}", said(&output));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_backup_is_whole_though_its_runner_writes() -> Tested {
    let state = TempDir::with_prefix("vmpool-journal-")?;
    let journal = Arc::new(SqliteJournal::open(state.path().join("vmpool.db"))?);
    let term = fill(&*journal).await?;
    let stop = CancellationToken::new();
    let mut writing = JoinSet::new();
    let (writer, stopped) = (journal.clone(), stop.clone());
    writing.spawn(async move {
        let mut number = 0_u64;
        while !stopped.is_cancelled() {
            number += 1;
            let note = |what| Note {
                key: RowKey::Stage("build".into()),
                what,
                cause: number.to_string().into(),
            };
            let batch = Batch {
                at: Clock::system().now(),
                pool: PoolName::new("linux"),
                term,
                limit: None,
                changes: Vec::new(),
                notes: vec![note("first"), note("second")],
            };
            writer.commit(batch).await?;
        }
        Ok::<_, vmpool_core::journal::CommitError>(())
    });
    let copies = TempDir::with_prefix("vmpool-journal-")?;
    for number in 0..4 {
        let answered = journal.events(0, 1_000_000).await?;
        let folder = copies.path().join(number.to_string());
        fs::create_dir(&folder)?;
        let copy = folder.join("vmpool.db");
        let (from, to) = (state.path().to_owned(), copy.clone());
        let backup = move || vmpool("backup", &[&to.to_string_lossy()], &from);
        let output = spawn_blocking(backup.clone()).await?;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!(copy.metadata()?.permissions().mode() & 0o777, 0o600);
        let again = spawn_blocking(backup).await?;
        assert_eq!(again.status.code(), Some(2), "{}", said(&again));
        let checked = vmpool("check", &[], &folder);
        assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
        assert_eq!(fs::read_dir(&folder)?.count(), 1, "something was left");
        // It opens as the journal that it was, and no batch is there by half.
        let restored = SqliteJournal::open(&copy)?.events(0, 1_000_000).await?;
        assert_eq!(restored[..answered.len()], answered[..]);
        assert_eq!(restored.len() % 2, 1, "half of a batch");
    }
    stop.cancel();
    while let Some(wrote) = writing.join_next().await {
        wrote??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_exported_and_checked_alike_and_backed_up_by_its_own_tools() -> Tested {
    let cluster = Cluster::start();
    let url = cluster.database("journal");
    let journal = PostgresJournal::connect(&url).await?;
    let term = fill(&journal).await?;
    let secret = url.replace("postgres@", "postgres:s3cret@");
    let on_database = |command: &str, file: Option<&str>| {
        Command::new(env!("CARGO_BIN_EXE_vmpool"))
            .args(["journal", command])
            .args(file)
            .env("VMPOOL_JOURNAL", &secret)
            .output()
            .expect("vmpool runs")
    };
    let output = on_database("export", None);
    assert!(output.status.success(), "{}", said(&output));
    assert_all_is_told(&lines(&output)?);
    let output = on_database("check", None);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!said(&output).contains("s3cret"), "{}", said(&output));
    write(&journal, term, vec![stage("lost", "missing", term)]).await?;
    let output = on_database("check", None);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let output = on_database("backup", Some("copy.db"));
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("pg_dump"), "{}", said(&output));
    assert!(!said(&output).contains("s3cret"), "{}", said(&output));
    Ok(())
}

#[test]
fn p13_a_journal_that_is_not_there_is_bad_input() -> Tested {
    let state = TempDir::with_prefix("vmpool-journal-")?;
    for (command, arguments) in [
        ("export", vec![]),
        ("check", vec![]),
        ("backup", vec!["copy"]),
    ] {
        let output = vmpool(command, &arguments, state.path());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("vmpool.db"), "{}", said(&output));
    }
    assert_eq!(fs::read_dir(state.path())?.count(), 0, "a journal was made");
    Ok(())
}
