//! What a runner's tasks share, and the tasks that are no pool's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::given::Given;
use super::parts::{PoolSource, RunnerParts, Sharing};
use super::reign::Reign;
use super::troubles::Troubles;
use super::{PoolOwner, RunnerError};
use crate::id::{PoolName, StageId};
use crate::journal::{Holder, JournalError, Retention, StageRecord};
use crate::map::Set;

/// Old events and ended rows are removed so often.
const COMPACT_EVERY: Duration = Duration::from_secs(60 * 60);

/// What a runner's tasks share.
pub(super) struct Shared {
    pub(super) parts: Arc<RunnerParts>,
    /// The pools that it was given, and those whose last machines it sees off.
    pub(super) given: RwLock<Vec<Arc<Given>>>,
    pub(super) troubles: Arc<Troubles>,
    /// Pools that only the journal knows, and that are not over.
    pub(super) unknown: Mutex<Vec<PoolName>>,
    /// The pools whose gauges are set.
    pub(super) measured: Mutex<Set<PoolName>>,
    pub(super) changes: watch::Sender<u64>,
    /// Steps that are followed.
    pub(super) followed: Arc<AtomicUsize>,
    pub(super) tasks: TaskTracker,
    /// The pools are given up, in good order.
    pub(super) leaving: CancellationToken,
    /// The last handle is gone: everything ends as it is.
    pub(super) stop: CancellationToken,
}

/// Whose a pool is.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    Ours(Arc<Reign>),
    Theirs(Holder),
    Nobodys,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(parts: RunnerParts, sources: Vec<PoolSource>) -> Arc<Self> {
        let given = sources.into_iter().map(Given::new);
        Arc::new(Self {
            troubles: Arc::new(Troubles::new(parts.clock)),
            parts: Arc::new(parts),
            given: RwLock::new(given.collect()),
            unknown: Mutex::default(),
            measured: Mutex::default(),
            changes: watch::Sender::new(0),
            followed: Arc::default(),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Runs `task` until it ends or the runner is dropped.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The pool is whose it is from now on; gives the reign that ended by it.
    pub(super) fn stands(&self, pool: &Given, standing: Standing) -> Option<Arc<Reign>> {
        let before = pool.stands(standing);
        self.changed();
        match before {
            Standing::Ours(reign) => Some(reign),
            Standing::Theirs(_) | Standing::Nobodys => None,
        }
    }

    /// Whose a pool is that this runner was given.
    fn standing(&self, pool: &PoolName) -> Option<Standing> {
        let given = self.given.read();
        let known = given.iter().find(|given| given.name == *pool);
        known.map(|given| given.standing())
    }

    pub(super) fn owner(&self, pool: &PoolName) -> PoolOwner {
        match self.standing(pool) {
            Some(Standing::Ours(_)) => PoolOwner::Ours,
            Some(Standing::Theirs(holder)) => PoolOwner::Theirs(holder),
            Some(Standing::Nobodys) => PoolOwner::Nobodys,
            None => PoolOwner::Unknown,
        }
    }

    /// The reign over a pool, if it is ours.
    pub(super) fn reign_over(&self, pool: &PoolName) -> Result<Arc<Reign>, RunnerError> {
        let standing = self.standing(pool);
        let pool = pool.clone();
        let Some(standing) = standing else {
            return Err(RunnerError::UnknownPool { pool });
        };
        match standing {
            Standing::Ours(reign) => Ok(reign),
            Standing::Theirs(holder) => Err(RunnerError::NotOurs {
                pool,
                holder: Some(holder),
            }),
            Standing::Nobodys => Err(RunnerError::NotOurs { pool, holder: None }),
        }
    }

    /// As [`Shared::reign_over`]; a pool that this runner was not given may be another's.
    pub(super) async fn reign_or_owner(&self, pool: &PoolName) -> Result<Arc<Reign>, RunnerError> {
        match self.reign_over(pool) {
            Err(RunnerError::UnknownPool { pool }) => Err(match self.others(&pool).await? {
                None => RunnerError::UnknownPool { pool },
                holder => RunnerError::NotOurs { pool, holder },
            }),
            found => found,
        }
    }

    /// Who rules a pool that this runner was not given, as the journal has it.
    pub(super) async fn others(&self, pool: &PoolName) -> Result<Option<Holder>, JournalError> {
        if self.parts.sharing == Sharing::Alone {
            return Ok(None);
        }
        let pools = self.parts.journal.pools(self.parts.clock.now()).await?;
        let mut ruled = pools.into_iter().filter(|owned| !owned.left.is_zero());
        Ok(ruled
            .find(|owned| owned.pool == *pool)
            .map(|owned| owned.holder))
    }

    /// A stage as the journal has it; one that it does not know is looked for
    /// once it can be complete.
    pub(super) async fn record(
        &self,
        stage: &StageId,
    ) -> Result<Option<StageRecord>, JournalError> {
        let record = self.parts.journal.stage(stage).await?;
        let mut unsettled = self.reigns();
        unsettled.retain(|reign| !reign.is_settled());
        if record.is_some() || unsettled.is_empty() {
            return Ok(record);
        }
        for reign in unsettled {
            reign.settled().await;
        }
        self.parts.journal.stage(stage).await
    }

    /// All pools that are ours.
    pub(super) fn reigns(&self) -> Vec<Arc<Reign>> {
        let given = self.given.read();
        given.iter().filter_map(|pool| pool.reign()).collect()
    }

    /// The reign that has the stage in memory.
    pub(super) fn reign_with(&self, stage: &StageId) -> Option<Arc<Reign>> {
        let mut reigns = self.reigns().into_iter();
        reigns.find(|reign| reign.stage(stage).is_some())
    }

    /// Keeps the journal small, and looks for pools that nobody rules, until
    /// the runner leaves.
    pub(super) async fn keep_house(self: Arc<Self>) {
        let house = async {
            loop {
                if let Err(error) = self.look_for_unknown().await {
                    self.troubles.tell(None, error.to_string());
                }
                tokio::time::sleep(COMPACT_EVERY).await;
                let now = self.parts.clock.now();
                let compacted = self.parts.journal.compact(Retention::default(), now);
                match compacted.await {
                    Ok(removed) => tracing::debug!(?removed, "the journal was compacted"),
                    Err(error) => self.troubles.tell(None, error.to_string()),
                }
            }
        };
        tokio::select! {
            biased;
            () = self.leaving.cancelled() => {}
            () = house => {}
        }
    }

    /// Pools of the journal that this runner was not given. Other runners may
    /// have been; machines of one that nobody has are ended by the sweep.
    async fn look_for_unknown(&self) -> Result<(), JournalError> {
        let journal = &self.parts.journal;
        let mut unknown = Vec::new();
        for owned in journal.pools(self.parts.clock.now()).await? {
            if self.standing(&owned.pool).is_some() || !owned.left.is_zero() {
                continue;
            }
            let rows = journal.pool(&owned.pool).await?;
            if rows.orders.is_empty() && rows.machines.is_empty() {
                continue;
            }
            let text = format!(
                "pool {} is in no configuration, and {} machines and {} orders of it are not over: the sweep ends them when they expire",
                owned.pool,
                rows.machines.len(),
                rows.orders.len()
            );
            self.troubles.tell(None, text);
            unknown.push(owned.pool);
        }
        *self.unknown.lock() = unknown;
        self.changed();
        Ok(())
    }
}
