//! Test reports: the files that test tools leave, read into totals, a table and
//! the failures.
//!
//! ```text
//! globs ──files──► paths ──xml──► events ──junit | trx──► Case ──► Report ──► table, totals
//! ```
//!
//! Reports come from the build, so they may be anything. Invariants:
//! - Files are read as a stream; what one may be, hold and nest is limited
//!   ([`Limits`]). Entities that a file declares stand for nothing.
//! - A file that breaks off or is not what it should be adds the cases that
//!   were complete, and a [`Problem`]; it never ends the others' reading.
//! - Links are not followed: they could name what only the agent may read.
//! - Totals count every case; of cases only so many failures are kept.

mod files;
mod junit;
mod table;
mod trx;
mod xml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use files::{Found, expand};

/// Which tool's form a report has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// JUnit's XML, as almost every tool writes it.
    #[default]
    Junit,
    /// Visual Studio's test results.
    Trx,
}

/// What is taken of reports at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files.
    pub files: usize,
    /// Entries of folders looked at to find them.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of one piece of text or markup in a file; as much is held in memory.
    pub piece: usize,
    /// Elements inside one another.
    pub depth: usize,
    /// Results of a TRX file that wait for their tests' classes; all are counted.
    pub waiting: usize,
    /// Failed cases kept with what they say.
    pub failures: usize,
    /// Suites told apart; the others' cases are counted in all.
    pub suites: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files: 10_000,
            entries: 500_000,
            bytes: 1024 * 1024 * 1024,
            piece: 16 * 1024 * 1024,
            depth: 200,
            waiting: 20_000,
            failures: 500,
            suites: 1_000,
        }
    }
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not hold.
    Failed,
    /// It could not be run to its end.
    Error,
    /// It was not run.
    Skipped,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The suite around it, by the innermost name.
    pub suite: String,
    /// Its class, where it has one.
    pub class: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it ran.
    pub duration: Duration,
    /// Why it ended so, in a line or a few.
    pub message: String,
    /// The stack, or what else the tool says.
    pub details: String,
}

impl Case {
    fn says_something(&self) -> bool {
        !self.message.is_empty() || !self.details.is_empty()
    }

    fn forget_texts(&mut self) {
        self.message = String::new();
        self.details = String::new();
    }
}

/// Numbers of cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All.
    pub tests: u64,
    /// Those that held.
    pub passed: u64,
    /// Those that did not.
    pub failed: u64,
    /// Those that could not be run to their end.
    pub errors: u64,
    /// Those that were not run.
    pub skipped: u64,
    /// All cases' durations.
    pub duration: Duration,
}

impl Totals {
    fn add(&mut self, case: &Case) {
        let count = match case.outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Failed => &mut self.failed,
            Outcome::Error => &mut self.errors,
            Outcome::Skipped => &mut self.skipped,
        };
        *count += 1;
        self.tests += 1;
        self.duration = self.duration.saturating_add(case.duration);
    }

    /// As output variables of a step, under the incumbent's names; its failed
    /// tests are those with errors, too.
    pub fn outputs(&self) -> [(&'static str, String); 5] {
        [
            ("total_tests", self.tests.to_string()),
            ("successful_tests", self.passed.to_string()),
            ("failed_tests", (self.failed + self.errors).to_string()),
            ("skipped_tests", self.skipped.to_string()),
            ("duration_ms", self.duration.as_millis().to_string()),
        ]
    }
}

/// A file, or a rest of files, that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub file: PathBuf,
    /// Why, in words for the log.
    pub reason: String,
}

/// What all files together say.
#[derive(Clone, Debug, Default)]
pub struct Report {
    totals: Totals,
    suites: BTreeMap<String, Totals>,
    failures: Vec<Case>,
    problems: Vec<Problem>,
    files: usize,
}

impl Report {
    /// The numbers of all cases.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The numbers of each suite, in the order of their names.
    pub fn suites(&self) -> &BTreeMap<String, Totals> {
        &self.suites
    }

    /// The first cases that failed or could not be run to their end, in the order of files.
    pub fn failures(&self) -> &[Case] {
        &self.failures
    }

    /// What could not be read.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many files were read, whole or in part.
    pub fn files(&self) -> usize {
        self.files
    }

    /// A table for a log: suites, totals, the first failures, and what could not be read.
    pub fn table(&self) -> String {
        table::render(self)
    }

    fn add(&mut self, case: Case, limits: &Limits) {
        self.totals.add(&case);
        if self.suites.len() < limits.suites || self.suites.contains_key(&case.suite) {
            self.suites
                .entry(case.suite.clone())
                .or_default()
                .add(&case);
        }
        let failed = matches!(case.outcome, Outcome::Failed | Outcome::Error);
        if failed && self.failures.len() < limits.failures {
            self.failures.push(case);
        }
    }
}

/// Reads all files that these patterns name, relative to `workdir` (`~` is `home`).
///
/// Blocks on the disk. A pattern that is none is a problem of the report, too.
pub fn read<P: AsRef<str>>(
    patterns: &[P],
    workdir: &Path,
    home: Option<&Path>,
    kind: Kind,
    limits: &Limits,
) -> Report {
    let mut report = Report::default();
    let found = expand(patterns, workdir, home, limits);
    report.problems.extend(found.problems);
    let mut left = limits.bytes;
    for file in found.files {
        let read = match files::open(&file) {
            Ok(open) => {
                report.files += 1;
                read_one(open, kind, limits, &mut left, &mut report)
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = read {
            report.problems.push(Problem { file, reason });
        }
        if left == 0 {
            break;
        }
    }
    report
}

/// Reads one report from anywhere.
pub fn read_from(
    from: impl std::io::Read,
    kind: Kind,
    limits: &Limits,
) -> (Report, Option<String>) {
    let mut report = Report::default();
    let mut left = limits.bytes;
    let problem = read_one(from, kind, limits, &mut left, &mut report).err();
    report.files = 1;
    (report, problem)
}

fn read_one(
    from: impl std::io::Read,
    kind: Kind,
    limits: &Limits,
    left: &mut u64,
    report: &mut Report,
) -> Result<(), String> {
    let mut document = xml::Document::new(from, *limits, *left);
    let mut add = |case| report.add(case, limits);
    let read = match kind {
        Kind::Junit => junit::read(&mut document, &mut add),
        Kind::Trx => trx::read(&mut document, limits, &mut add),
    };
    *left = document.left();
    read.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
