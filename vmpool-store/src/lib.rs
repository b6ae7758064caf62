//! The journal on disk.
//!
//! [`SqliteJournal`] is one file, for one runner that lives on its own host.

mod record;
mod sqlite;
#[cfg(all(unix, feature = "testkit"))]
pub mod testkit;

pub use sqlite::{OpenError, SqliteJournal, SqliteOptions};
