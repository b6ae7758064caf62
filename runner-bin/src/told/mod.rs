//! What programs are told, as JSON: by the commands' `--json` and by HTTP alike.
//! The shapes are promised by `docs/commands.md` and `docs/openapi.json`.
//!
//! A field is never left out: what is not known is `null`. Times are
//! milliseconds since 1970. Fields may be added.

mod pools;
mod stages;
mod story;

pub(crate) use self::pools::{Held, Pool, Pools};
pub(crate) use self::stages::{Stage, Stages};
pub(crate) use self::story::Story;

fn or_null(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn time_or_null(unix_ms: u64) -> Option<u64> {
    (unix_ms > 0).then_some(unix_ms)
}
