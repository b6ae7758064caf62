//! What was found, for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

use super::Examined;
use crate::screen::printable;

/// A line for each check.
pub(super) fn text(examined: &[Examined]) -> String {
    let mut text = String::new();
    for Examined { pool, found } in examined {
        for finding in found {
            let (word, said) = match &finding.result {
                Ok(said) => ("ok", said),
                Err(said) => ("wrong", said),
            };
            let (pool, check, said) = (printable(pool), &finding.check, printable(said));
            // Writing to a text can't fail.
            let _ = writeln!(text, "{word:5}  {pool}: {check}: {said}");
        }
    }
    text
}

/// `{"pools": [{"pool", "checks": [{"check", "ok", "said"}]}]}`
pub(super) fn json(examined: &[Examined]) -> String {
    let pools: Vec<_> = examined
        .iter()
        .map(|Examined { pool, found }| {
            let checks: Vec<_> = found
                .iter()
                .map(|finding| {
                    let (Ok(said) | Err(said)) = &finding.result;
                    json!({"check": finding.check, "ok": finding.result.is_ok(), "said": said})
                })
                .collect();
            json!({"pool": pool, "checks": checks})
        })
        .collect();
    format!("{:#}\n", json!({ "pools": pools }))
}
