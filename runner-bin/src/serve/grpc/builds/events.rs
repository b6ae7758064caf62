//! What happens, and why, as the journal has it: from any place in its order,
//! and as soon as there is more. Any runner can tell.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Status;
use vmpool_core::journal::{Event, Journal, JournalError, RowKey};
use vmpool_core::pool::PoolStatus;
use vmpool_core::runner::Runner;
use vmpool_core::{PoolName, StageId};
use vmpool_proto::v1::PoolEvent;

use super::failure::{Failure, Reason, moved};
use super::{Builds, Sent, message};
use crate::serve::access::Caller;
use crate::serve::grpc::visible::READING;

/// Events that are read at once.
const PAGE: usize = 256;

/// Between two looks at the journal at the earliest.
const AT_MOST: Duration = Duration::from_millis(100);

/// At the latest: other runners write, too.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Pools of rows that are remembered.
const MOST_KNOWN: usize = 4096;

/// Whose events, and for whom.
pub(super) struct Wanted {
    pub(super) caller: Caller,
    /// Of this pool only.
    pub(super) only: Option<PoolName>,
}

struct Watching {
    builds: Builds,
    runner: Runner,
    changes: watch::Receiver<u64>,
    wanted: Wanted,
    /// The last that was read.
    after: u64,
    read: VecDeque<PoolEvent>,
    /// Whose the rows are that events told of.
    pools: HashMap<RowKey, PoolName>,
}

/// Events after `after`; without it, those that are still to come.
pub(super) async fn watch(
    builds: Builds,
    runner: Runner,
    wanted: Wanted,
    after: Option<u64>,
) -> Result<Sent<PoolEvent>, Status> {
    let after = match after {
        Some(after) => after,
        None => within(last(&**runner.journal())).await?,
    };
    let watching = Watching {
        changes: runner.changes(),
        builds,
        runner,
        wanted,
        after,
        read: VecDeque::new(),
        pools: HashMap::new(),
    };
    Ok(Box::pin(stream::unfold(Some(watching), async |watching| {
        let mut watching = watching?;
        match watching.next().await {
            Ok(event) => Some((Ok(event), Some(watching))),
            Err(end) => Some((Err(end), None)),
        }
    })))
}

impl Watching {
    async fn next(&mut self) -> Result<PoolEvent, Status> {
        let leaving = self.builds.leaving.clone();
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(event);
            }
            self.changes.mark_unchanged();
            let page = tokio::select! {
                page = within(self.page()) => page?,
                () = leaving.cancelled() => return Err(moved()),
            };
            if page > 0 {
                continue;
            }
            let news = async {
                sleep(AT_MOST).await;
                let _ = timeout(AT_LEAST, self.changes.changed()).await;
            };
            tokio::select! {
                () = news => {}
                () = leaving.cancelled() => return Err(moved()),
            }
        }
    }

    fn is_wanted(&self, pool: Option<&PoolName>) -> bool {
        let Wanted { caller, only } = &self.wanted;
        if let Some(only) = only {
            return pool == Some(only);
        }
        // Whose a request is that has no machine yet the journal does not say.
        match pool {
            Some(pool) => self.builds.allow(caller, pool).is_ok(),
            None => caller.is_unrestricted(),
        }
    }

    /// Reads some; says how many there were.
    async fn page(&mut self) -> Result<usize, JournalError> {
        let journal = Arc::clone(self.runner.journal());
        let events = journal.events(self.after, PAGE).await?;
        for event in &events {
            let pool = self.pool_of(&*journal, event).await?;
            if self.is_wanted(pool.as_ref()) {
                self.read.push_back(message::event(event, pool.as_ref()));
            }
            self.after = event.seq;
        }
        Ok(events.len())
    }

    /// The pool of this runner's in which the stage waits.
    fn waits_in(&self, stage: &StageId) -> Option<PoolName> {
        let pools = self.runner.status().into_iter();
        let mut pools = pools.filter_map(|standing| standing.status);
        let waits = |pool: &PoolStatus| pool.waiters.iter().any(|waiter| waiter.stage == *stage);
        pools.find(waits).map(|pool| pool.name)
    }

    async fn pool_of(
        &mut self,
        journal: &dyn Journal,
        event: &Event,
    ) -> Result<Option<PoolName>, JournalError> {
        let key = match &event.key {
            RowKey::Step(stage, _) => RowKey::Stage(stage.clone()),
            key => key.clone(),
        };
        if let Some(pool) = self.pools.get(&key) {
            return Ok(Some(pool.clone()));
        }
        let pool = match &key {
            RowKey::Order(id) => journal.order(id).await?.map(|row| row.pool.clone()),
            RowKey::Machine(id) => {
                let row = journal.machine(id).await?;
                row.map(|row| row.machine.pool.clone())
            }
            RowKey::Stage(id) | RowKey::Step(id, _) => {
                let record = journal.stage(id).await?;
                let written = record.map(|record| record.stage.pool.clone());
                written.or_else(|| self.waits_in(id))
            }
        };
        if let Some(pool) = &pool {
            if self.pools.len() >= MOST_KNOWN {
                self.pools.clear();
            }
            self.pools.insert(key, pool.clone());
        }
        Ok(pool)
    }
}

/// The last event that there is: looked for by steps that grow, then by halves.
async fn last(journal: &dyn Journal) -> Result<u64, JournalError> {
    let beyond = async |after: u64| {
        let first = journal.events(after, 1).await?;
        Ok(first.first().map(|event| event.seq))
    };
    let (mut last, mut step) = (0_u64, 1_u64);
    let mut end = loop {
        let after = last.saturating_add(step);
        match beyond(after).await? {
            Some(seq) => last = seq,
            None => break after,
        }
        step = step.saturating_mul(2);
    };
    while last < end {
        let middle = last + (end - last) / 2;
        match beyond(middle).await? {
            Some(seq) => last = seq,
            None => end = middle,
        }
    }
    Ok(last)
}

async fn within<T>(reading: impl Future<Output = Result<T, JournalError>>) -> Result<T, Status> {
    let away = |why: String| Status::from(Failure::new(Reason::JournalAway, why));
    match timeout(READING, reading).await {
        Ok(read) => read.map_err(|error| away(error.to_string())),
        Err(_) => Err(away("the journal does not answer".to_owned())),
    }
}
