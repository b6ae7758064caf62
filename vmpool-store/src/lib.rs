//! The journal on disk.
//!
//! [`SqliteJournal`] is one file, for one runner that lives on its own host.

mod record;
mod sqlite;

pub use sqlite::{OpenError, SqliteJournal, SqliteOptions};
