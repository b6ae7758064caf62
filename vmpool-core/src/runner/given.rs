//! The pools that a runner is given, and what changes when it is given others.
//!
//! A pool of another size is resized. One whose machines, times or provider
//! change begins anew on what the journal knows, as at a take-over: machines,
//! stages and steps go on, requests that wait are asked again, and machines of
//! the old template are replaced in their time. One that is not given any more
//! takes no new stages and ends its machines as theirs end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::parts::PoolSource;
use super::reign::{PAUSE, Reign};
use super::shared::{Shared, Standing};
use super::{RunnerStartError, check_names};
use crate::id::PoolName;
use crate::pool::Pool as _;

/// What who asks a pool is told that is not given any more.
const RETIRED: &str = "the pool is in the configuration no more";

/// A pool that this runner was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: PoolName,
    /// Wakes who rules it when that must begin anew.
    pub(super) source: watch::Sender<PoolSource>,
    standing: Mutex<Standing>,
    /// It is not given any more, and has machines still.
    retired: AtomicBool,
    /// Nothing of it is left to rule.
    pub(super) over: CancellationToken,
}

/// What another source means for a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Size,
    Anew,
}

/// What became of a runner's pools, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// They are new, or were on their way out.
    pub begun: Vec<PoolName>,
    /// They keep another number of machines.
    pub resized: Vec<PoolName>,
    /// Their machines, times or provider are others.
    pub renewed: Vec<PoolName>,
    /// They end as their stages do.
    pub retired: Vec<PoolName>,
}

impl Reloaded {
    /// Nothing was another than before.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Given {
    pub(super) fn new(source: PoolSource) -> Arc<Self> {
        Arc::new(Self {
            name: source.config.name.clone(),
            source: watch::Sender::new(source),
            standing: Mutex::new(Standing::Nobodys),
            retired: AtomicBool::new(false),
            over: CancellationToken::new(),
        })
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Whose it is from now on; gives what was.
    pub(super) fn stands(&self, standing: Standing) -> Standing {
        std::mem::replace(&mut *self.standing.lock(), standing)
    }

    pub(super) fn reign(&self) -> Option<Arc<Reign>> {
        match self.standing() {
            Standing::Ours(reign) => Some(reign),
            Standing::Theirs(_) | Standing::Nobodys => None,
        }
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Takes another source.
    fn take(&self, source: PoolSource) -> Change {
        let change = change(&self.source.borrow(), &source);
        match change {
            Change::None => {}
            Change::Size => {
                let (warm, limit) = (source.config.warm, source.config.limit);
                // Who rules it goes on.
                self.source.send_if_modified(|known| {
                    *known = source;
                    false
                });
                if let Some(reign) = self.reign() {
                    reign.pool.resize(warm, limit);
                }
            }
            Change::Anew => drop(self.source.send_replace(source)),
        }
        change
    }
}

fn change(before: &PoolSource, after: &PoolSource) -> Change {
    let mut resized = before.config.clone();
    (resized.warm, resized.limit) = (after.config.warm, after.config.limit);
    if resized != after.config || !Arc::ptr_eq(&before.provider, &after.provider) {
        Change::Anew
    } else if resized == before.config {
        Change::None
    } else {
        Change::Size
    }
}

impl Shared {
    /// Has these pools instead of those it had.
    pub(super) fn reload(
        self: &Arc<Self>,
        sources: Vec<PoolSource>,
    ) -> Result<Reloaded, RunnerStartError> {
        check_names(&sources)?;
        let mut reloaded = Reloaded::default();
        let mut given = self.given.write();
        for known in given.iter().filter(|known| !known.is_retired()) {
            let stays = |source: &PoolSource| source.config.name == known.name;
            if !sources.iter().any(stays) {
                known.retired.store(true, Ordering::Relaxed);
                self.spawn(self.clone().see_off(known.clone()));
                reloaded.retired.push(known.name.clone());
            }
        }
        for source in sources {
            let name = source.config.name.clone();
            match given.iter().find(|known| known.name == name) {
                Some(known) if known.retired.swap(false, Ordering::Relaxed) => {
                    known.source.send_replace(source);
                    reloaded.begun.push(name);
                }
                Some(known) => match known.take(source) {
                    Change::None => {}
                    Change::Size => reloaded.resized.push(name),
                    Change::Anew => reloaded.renewed.push(name),
                },
                None => {
                    let fresh = Given::new(source);
                    self.spawn(self.clone().own(fresh.clone(), None));
                    given.push(fresh);
                    reloaded.begun.push(name);
                }
            }
        }
        drop(given);
        self.changed();
        Ok(reloaded)
    }

    /// Drains a retired pool, and forgets it when nothing of it is left here.
    async fn see_off(self: Arc<Self>, pool: Arc<Given>) {
        let mut changes = self.changes.subscribe();
        while pool.is_retired() {
            let left = match pool.standing() {
                Standing::Ours(reign) => {
                    reign.pool.drain(RETIRED);
                    let status = reign.pool.status();
                    status.ordered > 0 || !status.machines.is_empty()
                }
                // It is about to be ours again, or another's.
                Standing::Nobodys => true,
                Standing::Theirs(_) => false,
            };
            if !left && self.forget_retired(&pool) {
                return;
            }
            tokio::select! {
                biased;
                () = self.leaving.cancelled() => return,
                _ = changes.changed() => {}
                // What frees a slot need not be an event.
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// False: it was given again meanwhile.
    fn forget_retired(&self, pool: &Arc<Given>) -> bool {
        let mut given = self.given.write();
        if !pool.is_retired() {
            return false;
        }
        given.retain(|known| !Arc::ptr_eq(known, pool));
        pool.over.cancel();
        true
    }
}
