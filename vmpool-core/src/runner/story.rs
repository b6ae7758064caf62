//! What the history of a stage tells of its runners: which one goes on with it,
//! and under which term. For `explain`; nothing depends on it.

use std::time::Duration;

use super::parts::Sharing;
use super::reign::Reign;
use crate::id::StageId;
use crate::journal::{Batch, CommitError, Note, RowKey};

/// Notes in one batch.
const TOGETHER: usize = 256;
/// Between two tries at a journal that is away.
const AGAIN: Duration = Duration::from_secs(5);

impl Reign {
    /// Notes in the history of each of `stages`, which another process had
    /// before, that this runner goes on with it. Best effort, and bounded by the
    /// reign: what can't be written under its term is the next one's to tell.
    pub(super) async fn tell_who_goes_on(&self, stages: Vec<StageId>) {
        let runner = &self.parts.holder.runner;
        let others = match self.parts.sharing {
            Sharing::Alone => "restarted",
            Sharing::Shared(_) => "has the pool now",
        };
        let cause = format!("runner {runner} {others}, under term {}", self.term);
        for some in stages.chunks(TOGETHER) {
            let note = |stage: &StageId| Note {
                key: RowKey::Stage(stage.clone()),
                what: "taken over",
                cause: cause.clone().into(),
            };
            loop {
                let batch = Batch {
                    at: self.parts.clock.now(),
                    pool: self.name.clone(),
                    term: self.term,
                    limit: None,
                    changes: Vec::new(),
                    notes: some.iter().map(note).collect(),
                };
                let mut may_write = self.may_write.clone();
                if may_write.wait_for(|may| *may).await.is_err() {
                    return;
                }
                match self.parts.journal.commit(batch).await {
                    Err(CommitError::Unavailable { .. }) => tokio::time::sleep(AGAIN).await,
                    // Written, perhaps; or refused, because another runner has the pool by now.
                    _ => break,
                }
            }
        }
    }
}
