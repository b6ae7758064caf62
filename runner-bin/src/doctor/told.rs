//! What was found, for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

use vmpool_aws::checkup::Verdict;

use super::Examined;
use crate::screen::printable;

/// A line for each check.
pub(super) fn text(examined: &[Examined]) -> String {
    let mut text = String::new();
    for Examined { pool, found } in examined {
        for finding in found {
            let word = word(finding.verdict);
            let (pool, check, said) = (printable(pool), &finding.check, printable(&finding.said));
            // Writing to a text can't fail.
            let _ = writeln!(text, "{word:7}  {pool}: {check}: {said}");
        }
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fine => "ok",
        Verdict::Wrong => "wrong",
        Verdict::Unknown => "unknown",
    }
}

/// `{"pools": [{"pool", "checks": [{"check", "ok", "verdict", "said"}]}]}`. Only
/// what is wrong is not `ok`.
pub(super) fn json(examined: &[Examined]) -> String {
    let pools: Vec<_> = examined
        .iter()
        .map(|Examined { pool, found }| {
            let checks: Vec<_> = found
                .iter()
                .map(|finding| {
                    json!({
                        "check": finding.check,
                        "ok": finding.verdict != Verdict::Wrong,
                        "verdict": word(finding.verdict),
                        "said": finding.said,
                    })
                })
                .collect();
            json!({"pool": pool, "checks": checks})
        })
        .collect();
    format!("{:#}\n", json!({ "pools": pools }))
}
