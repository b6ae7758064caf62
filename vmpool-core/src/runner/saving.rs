//! What only a draining machine has of a stage, collected before it is ended.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::reign::{PAUSE, Reign};
use super::stages::{Phase, StageEntry};
use crate::pool::{Lease, Salvage};

/// How long the ends and the logs of a stage's steps are collected. After that
/// the log says that there may have been more.
const COLLECT: Duration = Duration::from_secs(60);
/// How long the agent may take to clean up; the machine's end takes what is left.
const CLEAN_UP: Duration = Duration::from_secs(30);

/// A pool's [`Salvage`]: its runner, once it is there. It does not keep it.
#[derive(Debug, Default)]
pub(super) struct Saving {
    by: watch::Sender<Option<Weak<Reign>>>,
}

impl Saving {
    pub(super) fn by(&self, reign: &Arc<Reign>) {
        self.by.send_replace(Some(Arc::downgrade(reign)));
    }
}

#[async_trait]
impl Salvage for Saving {
    async fn salvage(&self, lease: &Lease) {
        let mut by = self.by.subscribe();
        // The sender lives as long as `self`.
        let by = by.wait_for(Option::is_some).await.ok();
        let reign = by.and_then(|by| by.as_ref().and_then(Weak::upgrade));
        if let Some(reign) = reign {
            reign.save(lease).await;
        }
    }
}

impl Reign {
    /// Ends the stage's steps and collects their ends and logs, then has the
    /// agent clean up. No follower of the stage is left then.
    async fn save(self: &Arc<Self>, lease: &Lease) {
        let until = Instant::now() + COLLECT;
        let entry = self.ended_stage(lease).await;
        entry.end("the stage ended");
        if timeout_at(until, entry.nothing_followed()).await.is_err() {
            let text = format!(
                "what is on machine {} of stage {} could not be collected within {COLLECT:?}",
                lease.machine_id(),
                entry.id
            );
            entry.over(&text);
            self.trouble(text);
            // Each writes down that its step is lost.
            entry.nothing_followed().await;
        }
        let cleaned = self.parts.executor.cleanup(lease);
        match timeout(CLEAN_UP, cleaned).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(stage = %entry.id, %error, "the agent did not clean up");
            }
            Err(_) => tracing::debug!(stage = %entry.id, "the agent did not clean up in time"),
        }
        entry.over("the stage ended");
        self.forget(&entry);
    }

    /// The stage, with its steps; read in, where the runner has forgotten it.
    async fn ended_stage(self: &Arc<Self>, lease: &Lease) -> Arc<StageEntry> {
        loop {
            if let Some(entry) = self.stage(lease.stage()) {
                return entry;
            }
            match self.read_in(lease.stage()).await {
                Ok(()) => {
                    let ending = Phase::Ending("the stage ended".into());
                    let (id, lease) = (lease.stage(), Some(lease.clone()));
                    return self.stage_or(id, || StageEntry::new(id.clone(), lease, ending));
                }
                Err(error) => self.trouble(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
