//! `vmpool journal export`: all of a journal as JSON lines.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use serde_json::{Value, json};
use vmpool_core::RunnerId;
use vmpool_core::journal::Event;
use vmpool_store::{Entry, PoolEntry, RowEntry};

use super::args::ExportArgs;
use super::source::Source;
use crate::exit::{Exit, OrExit as _, Stopped};

pub(super) async fn export(args: &ExportArgs) -> Result<Exit, Stopped> {
    let (source, name) = Source::open(&args.at).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let told = source.tell(|entry| {
        serde_json::to_writer(&mut out, &line(entry))?;
        out.write_all(b"\n")
    });
    let written = told
        .await
        .with_context(|| format!("export {name}"))
        .or_exit(Exit::Failed)?;
    written
        .and_then(|()| out.flush())
        .context("write to standard output")
        .or_exit(Exit::Failed)?;
    Ok(Exit::Success)
}

fn line(entry: Entry) -> Value {
    match entry {
        Entry::Pool(PoolEntry {
            name,
            term,
            runner,
            url,
            cordon,
        }) => json!({
            "kind": "pool",
            "name": name.as_str(),
            "term": term.0,
            "runner": runner.as_ref().map(RunnerId::as_str),
            "url": url,
            "cordon": cordon.map(parsed),
        }),
        Entry::Row(row) => of_row(row),
        Entry::Event(Event {
            seq,
            at,
            key,
            version,
            what,
            cause,
        }) => json!({
            "kind": "event",
            "seq": seq,
            "at_unix_ms": at.0,
            "of": key,
            "version": version.0,
            "what": what,
            "cause": cause,
        }),
    }
}

/// What is damaged is told as the text that it is.
fn parsed(json: String) -> Value {
    serde_json::from_str(&json).unwrap_or(Value::String(json))
}

fn of_row(row: RowEntry) -> Value {
    let mut told = json!({
        "kind": row.kind.name(),
        "id": row.id,
        "version": row.version.0,
        "changed_at_unix_ms": row.changed_at.0,
        "row": parsed(row.json),
    });
    let optional = [
        ("step", row.step.map(Value::from)),
        ("pool", row.pool.map(Value::from)),
        ("is_over", row.is_over.map(Value::from)),
        ("sealed_bytes", row.sealed_bytes.map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            told[name] = value;
        }
    }
    told
}
