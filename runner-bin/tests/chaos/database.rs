//! The database of a round, on a server that is killed and frozen.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, sleep_until};
use vmpool_store::testkit::Cluster;

use super::chronicle::Chronicle;
use super::schedule::{Blow, DatabaseHarm};

/// A database of a round's own.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    server: Arc<Cluster>,
    pub(crate) url: String,
    away: Arc<Mutex<Away>>,
}

/// When the server was not there.
#[derive(Debug, Default)]
struct Away {
    now: bool,
    until: Option<Instant>,
}

impl Database {
    /// An empty one of this name. Blocks.
    pub(crate) fn new(server: Arc<Cluster>, name: &str) -> Self {
        Self {
            url: server.database(name),
            server,
            away: Arc::default(),
        }
    }

    /// It was not there for some time since then.
    pub(crate) fn was_away_since(&self, since: Instant) -> bool {
        let away = self.away.lock();
        away.now || away.until.is_some_and(|until| until >= since)
    }

    /// Lets all blows fall on the server, which is up when this returns.
    pub(crate) async fn course(self, blows: Vec<Blow<DatabaseHarm>>, chronicle: Arc<Chronicle>) {
        for blow in blows {
            sleep_until((chronicle.begun() + blow.at).into()).await;
            self.away.lock().now = true;
            match blow.what {
                DatabaseHarm::Kill(back_after) => {
                    chronicle.say("kill -9 of the database");
                    chronicle.count(|tally| tally.databases_killed += 1);
                    self.does(Cluster::kill).await;
                    sleep(back_after).await;
                    self.does(Cluster::restart).await;
                }
                DatabaseHarm::Freeze(thaws_after) => {
                    chronicle.say("the database is frozen");
                    chronicle.count(|tally| tally.databases_frozen += 1);
                    self.does(Cluster::freeze).await;
                    sleep(thaws_after).await;
                    self.does(Cluster::thaw).await;
                }
            }
            chronicle.say("the database is back");
            *self.away.lock() = Away {
                now: false,
                until: Some(Instant::now()),
            };
        }
    }

    async fn does(&self, what: fn(&Cluster)) {
        let server = self.server.clone();
        let done = spawn_blocking(move || what(&server)).await;
        done.expect("the server does as it is told");
    }
}
