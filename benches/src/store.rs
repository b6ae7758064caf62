//! The journals on disk that the durable figures are of, and beside each the
//! least that a commit costs there: one row, one transaction, one sync.

use std::sync::Arc;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use vmpool_core::Journal;
use vmpool_store::testkit::Cluster;
use vmpool_store::{PostgresJournal, SqliteJournal};

/// A place for journals.
pub(crate) enum Store {
    Sqlite(TempDir),
    Postgres(Box<Cluster>, String),
}

impl Store {
    pub(crate) fn sqlite() -> Result<Self> {
        Ok(Self::Sqlite(tempfile::tempdir()?))
    }

    /// A server of its own, which is stopped and removed with this.
    pub(crate) fn postgres() -> Self {
        let cluster = Box::new(Cluster::start());
        let bare = cluster.database("bare");
        Self::Postgres(cluster, bare)
    }

    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(..) => "PostgreSQL",
        }
    }

    /// A place where no journal is yet.
    pub(crate) fn place(&self, name: &str) -> String {
        match self {
            Self::Sqlite(dir) => dir.path().join(name).to_string_lossy().into_owned(),
            Self::Postgres(cluster, _) => cluster.database(name),
        }
    }

    /// The journal that is there, or a new one.
    pub(crate) async fn open(&self, place: &str) -> Result<Arc<dyn Journal>> {
        Ok(match self {
            Self::Sqlite(_) => Arc::new(SqliteJournal::open(place)?),
            Self::Postgres(..) => Arc::new(PostgresJournal::connect(place).await?),
        })
    }

    /// What commits are held against.
    pub(crate) async fn bare(&self) -> Result<Bare> {
        match self {
            Self::Sqlite(dir) => {
                let conn = rusqlite::Connection::open(dir.path().join("bare"))?;
                // As the journal sets them.
                conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
                conn.pragma_update(None, "synchronous", "full")?;
                conn.execute_batch(MAKE)?;
                Ok(Bare::Sqlite(conn))
            }
            Self::Postgres(_, bare) => {
                let (client, connection) = tokio_postgres::connect(bare, NoTls).await?;
                let mut driver = JoinSet::new();
                driver.spawn(async move { connection.await.context("the bare connection") });
                client.batch_execute(MAKE).await?;
                let insert = client.prepare("INSERT INTO bare (row) VALUES ($1)").await?;
                Ok(Bare::Postgres {
                    client,
                    insert,
                    _driver: driver,
                })
            }
        }
    }
}

const MAKE: &str = "CREATE TABLE IF NOT EXISTS bare (row TEXT NOT NULL)";
/// As long as a stage's row.
const ROW: &str =
    "build-4711 i-0123456789abcdef0 1795276449470 claimed 1795276449470 1795319649470";

/// A connection, and nothing else.
pub(crate) enum Bare {
    Sqlite(rusqlite::Connection),
    Postgres {
        client: tokio_postgres::Client,
        insert: tokio_postgres::Statement,
        _driver: JoinSet<Result<()>>,
    },
}

impl Bare {
    /// One commit of one row.
    pub(crate) async fn commit(&self) -> Result<()> {
        match self {
            Self::Sqlite(conn) => {
                conn.prepare_cached("INSERT INTO bare (row) VALUES (?1)")?
                    .execute([ROW])?;
            }
            Self::Postgres { client, insert, .. } => {
                client.execute(insert, &[&ROW]).await?;
            }
        }
        Ok(())
    }
}
