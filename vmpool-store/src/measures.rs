//! What the journal measures, by the `metrics` facade. A program that wants to
//! know installs its recorder before the journal is opened.

use std::time::Duration;

use metrics::{Counter, Histogram, Unit, describe_counter, describe_histogram};

const COMMIT: &str = "vmpool_journal_commit_seconds";
const WRITES: &str = "vmpool_journal_writes_total";
const GROUP: &str = "vmpool_journal_group_writes";

/// Tells the installed recorder what each name says.
pub fn describe() {
    let says = "One commit of the journal, its fsync or its round trip included";
    describe_histogram!(COMMIT, Unit::Seconds, says);
    let says = "Writes that shared a commit";
    describe_histogram!(GROUP, Unit::Count, says);
    let says = "Writes to the journal: made (with whatever answer), or failed (the journal was \
                not there)";
    describe_counter!(WRITES, Unit::Count, says);
}

/// Handles of a writer.
#[derive(Debug)]
pub(crate) struct Measures {
    commits: Histogram,
    groups: Histogram,
    made: Counter,
    failed: Counter,
}

impl Measures {
    pub(crate) fn new() -> Self {
        Self {
            commits: metrics::histogram!(COMMIT),
            groups: metrics::histogram!(GROUP),
            made: metrics::counter!(WRITES, "outcome" => "made"),
            failed: metrics::counter!(WRITES, "outcome" => "failed"),
        }
    }

    /// So many writes were tried together, which took so long.
    pub(crate) fn tried(&self, writes: usize, made: bool, took: Duration) {
        let count = u32::try_from(writes).unwrap_or(u32::MAX);
        let of = if made { &self.made } else { &self.failed };
        of.increment(count.into());
        if made {
            self.commits.record(took.as_secs_f64());
            self.groups.record(f64::from(count));
        }
    }
}
