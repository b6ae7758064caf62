//! Connections to the database: some for writes, some for reads, each checked
//! when it is made. A database that is away fails whoever asks, within
//! seconds; one that is back is used by whoever asks next.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, Object, Pool, PoolError, Runtime};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::address::{Address, CONNECT};
use super::doubt::Doubts;
use super::error::{ConnectError, Meaning, meaning, told};

/// How long a free connection may be waited for.
const WAIT: Duration = Duration::from_secs(5);
/// How long an answer may take; the database gives up before.
pub(super) const ANSWER: Duration = Duration::from_secs(6);

/// Connections, at most so many at once.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    address: Address,
    pool: Pool,
}

impl Sessions {
    pub(super) fn new(address: &Address, most: usize) -> Self {
        let manager = Manager::new(address.bounded(), address.tls());
        let check = Hook::async_fn(|session, _| {
            Box::pin(async move {
                let checked = check(session).await;
                checked.map_err(|why| match why {
                    Unfit::Settings(why) => HookError::message(why),
                    Unfit::Database(error) => HookError::Backend(error),
                })
            })
        });
        let pool = Pool::builder(manager)
            .max_size(most)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CONNECT * 2))
            .recycle_timeout(Some(CONNECT))
            .post_create(check)
            .build()
            .expect("timeouts have their runtime");
        Self {
            address: address.clone(),
            pool,
        }
    }

    /// A connection that was in order when it was looked at last.
    pub(super) async fn session(&self) -> Result<Object, String> {
        self.pool.get().await.map_err(|error| {
            let reason = match error {
                PoolError::Backend(error)
                | PoolError::PostCreateHook(HookError::Backend(error)) => told(&error),
                PoolError::PostCreateHook(HookError::Message(why)) => why.into_owned(),
                PoolError::Timeout(_) => "it does not answer in time".to_owned(),
                PoolError::Closed | PoolError::NoRuntimeSpecified => error.to_string(),
            };
            format!("{} can't be used: {reason}", self.address)
        })
    }

    /// A connection, with nothing in doubt that was written before by another.
    pub(super) async fn settled(&self, doubts: &Doubts) -> Result<Object, String> {
        let session = self.session().await?;
        let why = match timeout(ANSWER, doubts.settle(&session)).await {
            Ok(Ok(true)) => return Ok(session),
            Ok(Ok(false)) => "a write is still under way there, and can't be ended".to_owned(),
            Ok(Err(error)) => told(&error),
            Err(_) => format!("no answer in {ANSWER:?}"),
        };
        drop(Object::take(session));
        Err(format!("{} can't be used: {why}", self.address))
    }

    /// The rows of one statement, with nothing in doubt.
    pub(super) async fn rows(
        &self,
        doubts: &Doubts,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failed> {
        let undone = |reason| Failed {
            meaning: Meaning::Undone,
            reason,
        };
        let session = self.settled(doubts).await.map_err(undone)?;
        let asked = async {
            let statement = session.prepare_cached(sql).await?;
            session.query(&statement, params).await
        };
        match timeout(ANSWER, asked).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(Failed {
                meaning: meaning(&error),
                reason: format!("{}: {}", self.address, told(&error)),
            }),
            Err(_) => {
                // What it was asked may be answered yet, but to nobody.
                drop(Object::take(session));
                let reason = format!("{}: no answer in {ANSWER:?}", self.address);
                Err(Failed {
                    meaning: Meaning::Doubtful,
                    reason,
                })
            }
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

/// A statement that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) meaning: Meaning,
    pub(super) reason: String,
}

/// Why a connection is of no use.
pub(super) enum Unfit {
    /// It would not keep what it said it kept.
    Settings(String),
    /// It could not be asked.
    Database(tokio_postgres::Error),
}

/// What was answered must be on the database's disk (P5).
pub(super) async fn check(client: &Client) -> Result<(), Unfit> {
    let sql = "SELECT current_setting('fsync') = 'on', current_setting('synchronous_commit')";
    let row = client.query_one(sql, &[]).await.map_err(Unfit::Database)?;
    let syncs: bool = row.get(0);
    if !syncs {
        return Err(Unfit::Settings(
            "it runs with fsync off and may lose what it has answered: set fsync = on".to_owned(),
        ));
    }
    let commit: &str = row.get(1);
    if !matches!(commit, "on" | "remote_apply") {
        return Err(Unfit::Settings(format!(
            "it runs with synchronous_commit = {commit} and may lose what it has answered: \
             ALTER DATABASE … SET synchronous_commit = on"
        )));
    }
    Ok(())
}

impl Unfit {
    pub(super) fn at(self, address: &Address) -> ConnectError {
        let shown = address.to_string();
        match self {
            Self::Settings(reason) => ConnectError::Unfit { shown, reason },
            Self::Database(source) => ConnectError::Database { shown, source },
        }
    }
}
