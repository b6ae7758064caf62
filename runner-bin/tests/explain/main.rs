//! `vmpool explain` as its users meet it: the binary, and a journal on disk.

use std::process::{Command, Output};

use tempfile::TempDir;
use vmpool_core::journal::{Batch, Note, RowKey};
use vmpool_core::{Clock, Journal as _, PoolName};
use vmpool_store::SqliteJournal;

fn explain(state: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vmpool"))
        .args(["explain", "--state"])
        .arg(state.path())
        .args(arguments)
        .output()
        .expect("vmpool runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_request_that_got_no_machine_is_told_while_the_journal_is_in_use() {
    let state = TempDir::with_prefix("vmpool-explain-").expect("a temporary directory");
    let journal = SqliteJournal::open(state.path().join("vmpool.db")).expect("a journal");
    let now = Clock::system().now();
    let pool = PoolName::new("linux");
    let term = journal.raise_term(&pool, now).await.expect("a term");
    let note = |what, cause: &'static str| Note {
        key: RowKey::Stage("17".into()),
        what,
        cause: cause.into(),
    };
    let notes = vec![
        note("waits", "no machine of pool linux is ready"),
        note("refused", "the provider has no capacity"),
    ];
    let batch = Batch {
        at: now,
        pool,
        term,
        limit: None,
        changes: Vec::new(),
        notes,
    };
    journal.commit(batch).await.expect("it is written");

    let output = explain(&state, &["17"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.starts_with("stage 17 got no machine after 0 ms: the provider has no capacity\n"));
    assert!(
        said.contains("stage 17  waits    no machine of pool linux is ready"),
        "{said}"
    );

    let output = explain(&state, &["--json", "17"]);
    let story: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(story["kind"], "request");
    assert_eq!(story["moments"].as_array().map(Vec::len), Some(2));

    let output = explain(&state, &["18"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("no stage, machine, order or request 18 is known"),
        "{said}"
    );
}

#[test]
fn p13_a_state_directory_without_a_journal_is_bad_input_and_stays_as_it_is() {
    let state = TempDir::with_prefix("vmpool-explain-").expect("a temporary directory");
    let output = explain(&state, &["17"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(
        std::fs::read_dir(state.path())
            .expect("it is there")
            .count(),
        0
    );
}
