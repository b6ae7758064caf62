//! From the library's words to the messages of `vmpool.v1`. Pure.
//!
//! A runner answers with these messages; a command that reads a journal itself
//! makes the same ones, so that what it shows does not depend on whom it asked.

mod ledger;
mod pools;
mod stages;
mod story;
mod sweep;

use std::time::Duration;

pub(crate) use self::ledger::{ledger_entry, ledger_sum};
pub(crate) use self::pools::{from_journal, held, standing, trouble};
pub(crate) use self::stages::{WAITING, stage, waiting};
pub(crate) use self::story::story;
pub(crate) use self::sweep::swept;

/// A span in milliseconds.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
