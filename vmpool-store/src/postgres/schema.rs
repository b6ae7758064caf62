//! The schema: one that this release knows, brought up to date by one runner
//! at a time.

use std::time::Duration;

use refinery::Runner;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::address::Address;
use super::error::ConnectError;
use super::sessions::check;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// Who migrates holds this advisory lock: `vmpool`, as a number.
const LOCK: i64 = 0x766d_706f_6f6c;
/// How long the beginning may take, migrations excluded.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a migration may take, and another runner's before it.
const MIGRATION: Duration = Duration::from_secs(300);

/// What may be done to bring a schema up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It is migrated.
    Write,
    /// It must be right already.
    Read,
}

/// Sees that the database is fit to be a journal, and of a schema that this
/// release knows.
pub(super) async fn prepare(address: &Address, access: Access) -> Result<(), ConnectError> {
    let shown = || address.to_string();
    let connecting = async {
        let connection = Connection::open(address).await?;
        check(&connection.client)
            .await
            .map_err(|why| why.at(address))?;
        Ok(connection)
    };
    let mut connection = bounded(address, PATIENCE, connecting).await?;
    let client = &mut connection.client;
    // In one transaction with the note that it was made: a process that is killed
    // meanwhile has changed nothing.
    let runner = migrations::migrations::runner().set_grouped(true);
    let known = newest(&runner);
    let failed = |source| ConnectError::Database {
        shown: shown(),
        source,
    };
    let found = bounded(address, PATIENCE, async {
        version(client).await.map_err(failed)
    })
    .await?;
    if found > known {
        let shown = shown();
        return Err(ConnectError::Newer {
            shown,
            found,
            known,
        });
    }
    if found == known {
        return Ok(());
    }
    if access == Access::Read {
        let shown = shown();
        return Err(ConnectError::Older {
            shown,
            found,
            known,
        });
    }
    // The lock is the session's, and ends with it.
    bounded(address, MIGRATION, async {
        let lock = client
            .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
            .await;
        lock.map_err(failed)?;
        // Another runner may have been faster, or newer.
        let found = version(client).await.map_err(failed)?;
        if found > known {
            let shown = shown();
            return Err(ConnectError::Newer {
                shown,
                found,
                known,
            });
        }
        let migrated = runner.run_async(client).await;
        migrated.map(drop).map_err(|source| ConnectError::Migrate {
            shown: shown(),
            known,
            source: Box::new(source),
        })
    })
    .await
}

/// The newest schema that this release knows.
fn newest(runner: &Runner) -> i32 {
    let versions = runner
        .get_migrations()
        .iter()
        .map(refinery::Migration::version);
    versions.max().unwrap_or(0)
}

/// The schema's version; 0: there is none.
pub(super) async fn version(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let sql = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let has_history: bool = client.query_one(sql, &[]).await?.get(0);
    if !has_history {
        return Ok(0);
    }
    let sql = "SELECT max(version) FROM refinery_schema_history";
    let found: Option<i32> = client.query_one(sql, &[]).await?.get(0);
    Ok(found.unwrap_or(0))
}

/// One connection outside of any pool; closed when it is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    _task: JoinSet<()>,
}

impl Connection {
    pub(super) async fn open(address: &Address) -> Result<Self, ConnectError> {
        let (client, connection) =
            address
                .patient()
                .connect(address.tls())
                .await
                .map_err(|source| ConnectError::Database {
                    shown: address.to_string(),
                    source,
                })?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // What goes wrong is told to whoever uses the client.
            let _ = connection.await;
        });
        Ok(Self {
            client,
            _task: task,
        })
    }
}

async fn bounded<T>(
    address: &Address,
    patience: Duration,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    timeout(patience, work).await.unwrap_or_else(|_| {
        Err(ConnectError::Silent {
            shown: address.to_string(),
            seconds: patience.as_secs(),
        })
    })
}
