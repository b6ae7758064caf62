//! The journal on disk.
//!
//! [`SqliteJournal`] is one file, for one runner that lives on its own host.
//! [`PostgresJournal`] is a database that several runners share.

mod entry;
mod measures;
mod postgres;
mod record;
mod sqlite;
#[cfg(all(unix, feature = "testkit"))]
pub mod testkit;

pub use entry::{Entry, PoolEntry, RowEntry, RowKind};
pub use measures::describe;
pub use postgres::{ConnectError, PostgresJournal};
pub use sqlite::{BackupError, OpenError, SqliteJournal, SqliteOptions};
