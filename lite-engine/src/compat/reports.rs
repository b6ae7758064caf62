//! The test reports of a step that is over: a table for its log, and totals.

use std::collections::BTreeMap;
use std::path::Path;

use vmpool_proto::incumbent::StartStepRequest;

use super::plan;
use crate::report::{self, Kind, Limits, Report};

/// Totals become outputs where this is `true`.
const TOTALS: &str = "HARNESS_CI_TEST_SUMMARY_OUTPUT_FF";

/// What the reports say.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// For the log; empty where no reports were asked for.
    pub(super) table: String,
    /// For the caller; none where they are not wanted.
    pub(super) outputs: Vec<(String, String)>,
}

/// Reads the reports that the request names. Blocks.
pub(super) fn read(
    request: &StartStepRequest,
    env: &BTreeMap<String, String>,
    workdir: &Path,
) -> Reports {
    let patterns = &request.test_report.junit.paths;
    let (trx, junit): (Vec<_>, Vec<_>) = patterns
        .iter()
        .partition(|pattern| pattern.to_ascii_lowercase().ends_with(".trx"));
    let home = env.get("HOME").map(Path::new);
    let read = |patterns: &[&String], kind| {
        let patterns: Vec<&str> = patterns.iter().map(|pattern| pattern.as_str()).collect();
        report::read(&patterns, workdir, home, kind, &Limits::default())
    };
    let mut reports = Reports::default();
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (patterns, kind) in [(junit, Kind::Junit), (trx, Kind::Trx)] {
        if patterns.is_empty() {
            continue;
        }
        let report: Report = read(&patterns, kind);
        reports.table.push_str(&report.table());
        for (name, value) in report.totals().outputs() {
            *totals.entry(name).or_default() += value.parse().unwrap_or(0);
        }
    }
    if plan::is_true(env, TOTALS) {
        let totals = totals.into_iter();
        reports.outputs = totals
            .map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect();
    }
    reports
}
