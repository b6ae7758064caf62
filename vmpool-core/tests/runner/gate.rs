//! One runner's way to a journal that others share: it can be shut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use vmpool_core::clock::Timestamp;
use vmpool_core::journal::{
    Batch, CommitError, Compacted, Cordon, Event, Holder, JournalError, MachineRow, MemoryJournal,
    OrderRow, Ownership, PoolRows, Retention, RowKey, StageRecord, Taken,
};
use vmpool_core::{Journal, MachineId, OrderId, PoolName, StageId, Term};

/// What the way is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Every call fails at once.
    Away,
    /// No call is answered, as for a process that is stopped.
    Hangs,
    /// What is written gets stuck on its way, and nobody can say whether it was
    /// made: [`Gate::deliver`] makes it.
    InDoubt {
        /// Rows can be read.
        readable: bool,
    },
}

/// A runner's way to the journal.
pub(crate) struct Gate {
    rows: Arc<MemoryJournal>,
    way: watch::Sender<Way>,
    stuck: watch::Sender<Vec<Batch>>,
    second_reading_fails: Mutex<Option<bool>>,
    held_back: Mutex<Option<(MachineId, oneshot::Receiver<()>)>>,
    compactions: AtomicU64,
}

impl Gate {
    pub(crate) fn new(rows: &Arc<MemoryJournal>) -> Arc<Self> {
        Arc::new(Self {
            rows: rows.clone(),
            way: watch::Sender::new(Way::Open),
            stuck: watch::Sender::default(),
            second_reading_fails: Mutex::default(),
            held_back: Mutex::default(),
            compactions: AtomicU64::new(0),
        })
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Makes the writes that got stuck, unless something speaks against it by now.
    pub(crate) async fn deliver(&self) {
        for batch in self.stuck.send_replace(Vec::new()) {
            let _ = self.rows.commit(batch).await;
        }
    }

    /// Reading the pool works once more; then it waits until a write got stuck,
    /// and fails.
    pub(crate) fn fail_second_reading(&self) {
        *self.second_reading_fails.lock() = Some(false);
    }

    /// No reading is going to fail any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.second_reading_fails.lock().is_none()
    }

    async fn reading(&self) -> Result<(), JournalError> {
        let fails = {
            let mut second = self.second_reading_fails.lock();
            let fails = second.take_if(|second| *second).is_some();
            if let Some(second) = &mut *second {
                *second = true;
            }
            fails
        };
        if !fails {
            return Ok(());
        }
        // The sender lives as long as `self`.
        let _ = self.stuck.subscribe().wait_for(|it| !it.is_empty()).await;
        Err(failed())
    }

    /// The next answer about the machine comes only when the sender says so, as
    /// it was when it was asked for.
    pub(crate) fn hold_back(&self, machine: &MachineId) -> oneshot::Sender<()> {
        let (sender, until) = oneshot::channel();
        *self.held_back.lock() = Some((machine.clone(), until));
        sender
    }

    /// An answer is held back.
    pub(crate) fn holds_back(&self) -> bool {
        self.held_back.lock().is_none()
    }

    /// How often it was asked to forget what is old.
    pub(crate) fn compactions(&self) -> u64 {
        self.compactions.load(Ordering::Relaxed)
    }

    async fn pass(&self) -> Result<(), JournalError> {
        let mut way = self.way.subscribe();
        let way = way.wait_for(|way| *way != Way::Hangs).await;
        if way.is_ok_and(|way| matches!(*way, Way::Open | Way::InDoubt { readable: true })) {
            return Ok(());
        }
        Err(failed())
    }
}

fn failed() -> JournalError {
    JournalError {
        attempted: "reach the journal".to_owned(),
        reason: "the test says so".to_owned(),
    }
}

#[async_trait]
impl Journal for Gate {
    async fn raise_term(&self, pool: &PoolName, now: Timestamp) -> Result<Term, JournalError> {
        self.pass().await?;
        self.rows.raise_term(pool, now).await
    }

    async fn take(
        &self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Taken, JournalError> {
        self.pass().await?;
        self.rows.take(pool, holder, lease, now).await
    }

    async fn renew(
        &self,
        pool: &PoolName,
        term: Term,
        lease: Duration,
        now: Timestamp,
    ) -> Result<bool, JournalError> {
        self.pass().await?;
        self.rows.renew(pool, term, lease, now).await
    }

    async fn give_up(
        &self,
        pool: &PoolName,
        term: Term,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.pass().await?;
        self.rows.give_up(pool, term, now).await
    }

    async fn cordon(
        &self,
        pool: &PoolName,
        term: Term,
        cordon: Option<&Cordon>,
    ) -> Result<bool, JournalError> {
        self.pass().await?;
        self.rows.cordon(pool, term, cordon).await
    }

    async fn pools(&self, now: Timestamp) -> Result<Vec<Ownership>, JournalError> {
        self.pass().await?;
        self.rows.pools(now).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let passed = self.pass().await;
        if matches!(*self.way.borrow(), Way::InDoubt { .. }) {
            self.stuck.send_modify(|stuck| stuck.push(batch));
            let reason = failed().reason;
            return Err(CommitError::Ambiguous { reason });
        }
        if let Err(error) = passed {
            let reason = error.reason;
            return Err(CommitError::Unavailable { reason });
        }
        self.rows.commit(batch).await
    }

    async fn pool(&self, pool: &PoolName) -> Result<PoolRows, JournalError> {
        self.pass().await?;
        self.reading().await?;
        self.rows.pool(pool).await
    }

    async fn machine(&self, id: &MachineId) -> Result<Option<Arc<MachineRow>>, JournalError> {
        self.pass().await?;
        let answer = self.rows.machine(id).await;
        let held_back = self.held_back.lock().take_if(|(of, _)| of == id);
        if let Some((_, until)) = held_back {
            let _ = until.await;
            self.pass().await?;
        }
        answer
    }

    async fn stage(&self, id: &StageId) -> Result<Option<StageRecord>, JournalError> {
        self.pass().await?;
        self.rows.stage(id).await
    }

    async fn order(&self, id: &OrderId) -> Result<Option<Arc<OrderRow>>, JournalError> {
        self.pass().await?;
        self.rows.order(id).await
    }

    async fn ledger(
        &self,
        after: Option<&MachineId>,
        limit: usize,
    ) -> Result<Vec<Arc<MachineRow>>, JournalError> {
        self.pass().await?;
        self.rows.ledger(after, limit).await
    }

    async fn history(&self, key: &RowKey, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.pass().await?;
        self.rows.history(key, limit).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.pass().await?;
        self.rows.events(after, limit).await
    }

    async fn compact(&self, keep: Retention, now: Timestamp) -> Result<Compacted, JournalError> {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.pass().await?;
        self.rows.compact(keep, now).await
    }
}
