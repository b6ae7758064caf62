//! Lines as JSON: for the log service, and for files.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Line;

#[derive(Serialize)]
struct Remote<'a> {
    level: &'a str,
    pos: u64,
    out: &'a str,
    time: String,
    args: Option<()>,
}

#[derive(Serialize)]
struct InFile<'a> {
    pos: u64,
    out: &'a str,
    /// Seconds since the step's start.
    time: u64,
}

/// A line as the log service has it, without a newline after it.
pub(super) fn remote(line: &Line, trim_newline: bool) -> Vec<u8> {
    let out = if trim_newline {
        line.out.trim_end_matches('\n')
    } else {
        &line.out
    };
    json(&Remote {
        level: "info",
        pos: line.pos,
        out,
        time: rfc3339(line.at),
        args: None,
    })
}

/// A line as a file has it, with a newline after it.
pub(super) fn in_file(line: &Line, begun: SystemTime) -> Vec<u8> {
    let passed = line.at.duration_since(begun).unwrap_or(Duration::ZERO);
    let mut json = json(&InFile {
        pos: line.pos,
        out: &line.out,
        time: passed.as_secs(),
    });
    json.push(b'\n');
    json
}

fn json(line: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(line).expect("texts and numbers have a JSON form")
}

fn rfc3339(at: SystemTime) -> String {
    // Years beyond 9999 have no such form.
    OffsetDateTime::from(at)
        .format(&Rfc3339)
        .unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}
