//! Sessions that were left with a write under way. Whether it was made shows
//! only when they are over, so whoever reads or writes next ends them first:
//! what is read back is then how it stays.

use parking_lot::Mutex;
use tokio_postgres::Client;

/// A session as the database knows it. Numbers of processes come again, so the
/// time of its beginning belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    pid: i32,
    since: String,
}

impl Backend {
    pub(super) async fn of(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let sql =
            "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let row = client.query_one(sql, &[]).await?;
        Ok(Self {
            pid: row.get(0),
            since: row.get(1),
        })
    }
}

/// The sessions in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    left: Mutex<Vec<Backend>>,
}

impl Doubts {
    pub(super) fn add(&self, backend: Backend) {
        self.left.lock().push(backend);
    }

    /// Ends what is in doubt, by another session. False: something is yet.
    pub(super) async fn settle(&self, by: &Client) -> Result<bool, tokio_postgres::Error> {
        loop {
            let Some(backend) = self.left.lock().first().cloned() else {
                return Ok(true);
            };
            let sql = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
                       WHERE pid = $1 AND backend_start::text = $2";
            let ended = by.query_opt(sql, &[&backend.pid, &backend.since]).await?;
            if ended.is_some_and(|row| !row.get::<_, bool>(0)) {
                return Ok(false);
            }
            self.left.lock().retain(|left| *left != backend);
        }
    }
}
