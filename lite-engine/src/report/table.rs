//! A report for people who read a log.

use std::time::Duration;

use comfy_table::{CellAlignment, Table};

use super::{Outcome, Report, Totals};

/// Suites that are listed; those with failures come first.
const SUITES: usize = 50;

/// Failures that are listed.
const FAILURES: usize = 20;

/// Files that are listed.
const PROBLEMS: usize = 10;

/// Characters of a name or of a message's first line.
const WIDTH: usize = 100;

pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "Suite", "Tests", "Passed", "Failed", "Errors", "Skipped", "Time",
    ]);
    let mut suites: Vec<_> = report.suites.iter().collect();
    suites.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.failed + totals.errors));
    let more = suites.len().saturating_sub(SUITES);
    for (name, totals) in suites.into_iter().take(SUITES) {
        let name = if name.is_empty() { "(no name)" } else { name };
        table.add_row(row(&line(name), totals));
    }
    if more > 0 {
        table.add_row([format!("… and {more} more")]);
    }
    table.add_row(row("All", &report.totals));
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = format!("{table}\n");
    for case in report.failures.iter().take(FAILURES) {
        let what = match case.outcome {
            Outcome::Error => "ERROR",
            _ => "FAILED",
        };
        let class = if case.class.is_empty() { "" } else { "." };
        let name = line(&format!("{}{class}{}", case.class, case.name));
        let said = line(if case.message.is_empty() {
            &case.details
        } else {
            &case.message
        });
        let colon = if said.is_empty() { "" } else { ": " };
        text.push_str(&[what, " ", &name, colon, &said, "\n"].concat());
    }
    let failed = report.totals.failed + report.totals.errors;
    if let Some(more) = failed.checked_sub(FAILURES as u64).filter(|more| *more > 0) {
        text.push_str(&["… and ", &more.to_string(), " more\n"].concat());
    }
    for problem in report.problems.iter().take(PROBLEMS) {
        let file = line(&problem.file.to_string_lossy());
        text.push_str(&["report ", &file, " ", &line(&problem.reason), "\n"].concat());
    }
    if let Some(more) = report
        .problems
        .len()
        .checked_sub(PROBLEMS)
        .filter(|more| *more > 0)
    {
        text.push_str(
            &[
                "… and ",
                &more.to_string(),
                " more that could not be read\n",
            ]
            .concat(),
        );
    }
    text
}

fn row(name: &str, totals: &Totals) -> [String; 7] {
    [
        name.to_owned(),
        totals.tests.to_string(),
        totals.passed.to_string(),
        totals.failed.to_string(),
        totals.errors.to_string(),
        totals.skipped.to_string(),
        time(totals.duration),
    ]
}

fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.3}s", duration.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The first line of it, without what a terminal would obey, and not too long.
fn line(text: &str) -> String {
    let first = text.trim().lines().next().unwrap_or_default();
    let mut shown: String = first
        .chars()
        .filter(|c| !c.is_control())
        .take(WIDTH)
        .collect();
    if first.chars().count() > WIDTH {
        shown.push('…');
    }
    shown
}
