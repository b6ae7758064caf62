//! All of a database's journal, read as one moment.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio::sync::mpsc::Sender;
use tokio_postgres::{IsolationLevel, Row, Transaction};
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::JournalError;
use vmpool_core::{PoolName, RunnerId, Term, Version};

use super::error::told;
use super::{PostgresJournal, read, schema};
use crate::entry::{EVENTS, Entry, POOLS, PoolEntry, RowEntry, RowKind};
use crate::record::natural;

/// Why not all was told.
enum Ended {
    /// Nobody listens any more.
    Unheard,
    Failed(String),
}

impl PostgresJournal {
    /// Tells everything, as of one moment, until it is through or nobody
    /// listens any more. As long as that takes the database keeps old rows.
    ///
    /// # Errors
    /// It can't be read.
    ///
    /// # Cancel safety
    /// Safe: its connection is closed.
    pub async fn entries(&self, to: Sender<Entry>) -> Result<(), JournalError> {
        let address = self.reads.address();
        let failed = |reason| JournalError {
            attempted: format!("read all of {address}"),
            reason,
        };
        let connection = schema::Connection::open(address).await;
        let mut connection = connection.map_err(|error| failed(error.to_string()))?;
        let told = async {
            let moment = connection
                .client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .await?;
            tell_all(&moment, &to).await
        };
        match told.await {
            Ok(()) | Err(Ended::Unheard) => Ok(()),
            Err(Ended::Failed(reason)) => Err(failed(reason)),
        }
    }
}

async fn tell_all(moment: &Transaction<'_>, to: &Sender<Entry>) -> Result<(), Ended> {
    each(moment, POOLS, to, |row| {
        Ok(Entry::Pool(PoolEntry {
            name: PoolName::new(row.get::<_, &str>(0)),
            term: Term(natural(row.get(1))),
            runner: row.get::<_, Option<&str>>(2).map(RunnerId::new),
            url: row.get(3),
            cordon: row.get(4),
        }))
    })
    .await?;
    for kind in RowKind::ALL {
        each(moment, kind.select(), to, |row| Ok(read_row(kind, row))).await?;
    }
    each(moment, EVENTS, to, |row| {
        let event = read::event(row);
        event
            .map(Entry::Event)
            .map_err(|error| Ended::Failed(error.to_string()))
    })
    .await
}

async fn each(
    moment: &Transaction<'_>,
    sql: &str,
    to: &Sender<Entry>,
    read: impl Fn(&Row) -> Result<Entry, Ended>,
) -> Result<(), Ended> {
    let none: [&str; 0] = [];
    let mut rows = pin!(moment.query_raw(sql, none).await?);
    while let Some(row) = rows.try_next().await? {
        to.send(read(&row)?).await.map_err(|_| Ended::Unheard)?;
    }
    Ok(())
}

fn read_row(kind: RowKind, row: &Row) -> Entry {
    let slots: i32 = row.get(4);
    Entry::Row(RowEntry {
        kind,
        id: row.get(0),
        step: row.get(1),
        pool: row.get(2),
        version: Version(natural(row.get(3))),
        slots: u32::try_from(slots).unwrap_or(0),
        is_over: row.get(5),
        changed_at: Timestamp(natural(row.get(6))),
        json: row.get(7),
        sealed_bytes: row
            .get::<_, Option<i32>>(8)
            .map(|bytes| natural(i64::from(bytes))),
    })
}

impl From<tokio_postgres::Error> for Ended {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(told(&error))
    }
}
