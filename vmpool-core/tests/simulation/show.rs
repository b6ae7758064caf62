//! How a history that went wrong is shown.

use vmpool_core::testkit::sim::Report;

/// What was wrong, how it came to that, and how to see it again.
pub(crate) fn failure(what: &str, report: &Report) -> String {
    let tail = report.told.tail.join("\n");
    let wrong = report.told.wrong.join("\n  ");
    format!("{tail}\n\n{what}:\n  {wrong}\n")
}

/// The command that plays a seed again, with its whole history.
pub(crate) fn replay(seed: u64) -> String {
    format!("cargo xtask sim --from {seed} --seeds 1")
}
