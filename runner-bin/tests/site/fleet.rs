//! Several runners of one deployment: one PostgreSQL, one CA, one place of
//! logs, a state directory and ports of each runner's own.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use vmpool_core::{Clock, Journal as _};
use vmpool_store::PostgresJournal;
use vmpool_store::testkit::Cluster;

use crate::support::{Answered, Serving, Site, ask, free_port, wait_for};

/// A deployment.
pub(crate) struct Fleet {
    // Dropped first, and with it all of its processes.
    pub(crate) site: Site,
    /// The journal's URL.
    pub(crate) journal: String,
    _cluster: Cluster,
}

/// A runner of it.
pub(crate) struct Member {
    pub(crate) port: u16,
    /// As the others reach it.
    pub(crate) url: String,
    pub(crate) process: Serving,
}

impl Fleet {
    /// A deployment with one pool `linux`, and no runner yet.
    pub(crate) async fn new(warm: u32, limit: u32) -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let cluster = Cluster::start();
            let journal = cluster.database("vmpool");
            (cluster, journal)
        });
        let (cluster, journal) = started.await.expect("PostgreSQL starts");
        Self {
            site: Site::new(warm, limit),
            journal,
            _cluster: cluster,
        }
    }

    /// A runner that is ready.
    pub(crate) async fn runner(&self, name: &str) -> Member {
        self.runner_with(name, &[]).await
    }

    /// The same with further options.
    pub(crate) async fn runner_with(&self, name: &str, options: &[String]) -> Member {
        let (port, peers) = (free_port(), free_port());
        let program = Path::new(env!("CARGO_BIN_EXE_vmpool"));
        let mut command = self.site.command_of(program, name, port);
        let url = format!("https://127.0.0.1:{peers}");
        command
            .env("VMPOOL_JOURNAL", &self.journal)
            .arg("--trust")
            .arg(self.site.path().join("trust"))
            .arg("--logs")
            .arg(self.site.path().join("state/logs"))
            .args(["--peer-listen", &format!("127.0.0.1:{peers}")])
            .args(["--peer-url", &url])
            .args(options);
        Member {
            port,
            url,
            process: self.site.ready_at(port, &mut command).await,
        }
    }

    /// What `vmpool explain` tells, from the journal.
    pub(crate) fn explain(&self, id: &str) -> String {
        let mut explain = Command::new(env!("CARGO_BIN_EXE_vmpool"));
        explain.env("VMPOOL_JOURNAL", &self.journal);
        let output = explain.args(["explain", id]).output().expect("vmpool runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The peer URL of the runner that owns the pool now, if one does.
    pub(crate) async fn owner(&self) -> Option<String> {
        let journal = PostgresJournal::connect(&self.journal).await;
        let journal = journal.expect("the journal is there");
        let pools = journal.pools(Clock::system().now()).await;
        let mut pools = pools.expect("it is read").into_iter();
        let owned = pools.find(|pool| pool.pool.as_str() == "linux")?;
        (!owned.left.is_zero()).then(|| owned.holder.url.to_string())
    }
}

impl Member {
    /// Asks this runner once; none: it did not answer, or not to the end.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<Answered> {
        ask(self.port, "POST", path, body.to_string().into()).await
    }
}

/// Asks as a delegate does that knows several runners: one, and another while
/// that does not answer, or tells to come again.
pub(crate) async fn insist(members: &[&Member], path: &str, body: &Value) -> Answered {
    let mut turn = members.iter().cycle();
    wait_for(&format!("an answer to {path}"), async || {
        let answered = turn.next()?.post(path, body).await?;
        (answered.status != 503).then_some(answered)
    })
    .await
}
