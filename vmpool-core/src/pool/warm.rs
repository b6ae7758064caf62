//! [`WarmPool`]: the pool as its users have it, its start and its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::book::{Book, Size};
use super::events::Announcer;
use super::metrics::Metrics;
use super::reconcile::Looks;
use super::shared::Shared;
use super::{
    AcquireError, AcquireRequest, AttachError, HoldError, Lease, Leftovers, NoteError, Pool,
    PoolConfig, PoolEvents, PoolParts, PoolStatus, ReadyQueue, ReleaseError, RequestHash, Rule,
    StartError, TryAcquireError,
};
use crate::account::Breaker;
use crate::id::{MachineId, StageId, Term};
use crate::journal::{Cordon, JournalError, MachineRow};
use crate::machine::{Hold, MachineState};
use crate::reconcile::ADOPTED;
use crate::stage::{StageEnd, StageEvent};

/// A pool that keeps machines ready.
///
/// A handle: clones are the same pool. When the last one is dropped, its tasks
/// end and its machines stay as they are, for the journal's next reader or, if
/// nobody comes, for their dead-man's clocks. [`WarmPool::shutdown`] ends them.
#[derive(Clone)]
pub struct WarmPool {
    pub(super) shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl WarmPool {
    /// Starts a pool on what its journal knows, under a new term.
    ///
    /// Must be called within a tokio runtime, on which the pool's tasks run.
    ///
    /// # Errors
    /// The journal could not be read or written.
    pub async fn start(config: PoolConfig, parts: PoolParts) -> Result<Self, StartError> {
        let pool = config.name.clone();
        let failed = |source| StartError {
            pool: pool.clone(),
            source,
        };
        let term = parts
            .journal
            .raise_term(&pool, parts.clock.now())
            .await
            .map_err(failed)?;
        // The sender is gone, and its last word stands.
        let (_, may_write) = watch::channel(true);
        Self::start_under(config, parts, Rule { term, may_write }).await
    }

    /// Starts a pool that was taken by [`Journal::take`](crate::Journal::take), on what its journal
    /// knows. While the rule says so, it writes nothing and so begins nothing.
    ///
    /// # Errors
    /// The journal could not be read.
    pub async fn start_under(
        config: PoolConfig,
        parts: PoolParts,
        rule: Rule,
    ) -> Result<Self, StartError> {
        let pool = config.name.clone();
        let rows = parts
            .journal
            .pool(&pool)
            .await
            .map_err(|source| StartError {
                pool: pool.clone(),
                source,
            })?;

        let stop = CancellationToken::new();
        let size = Size {
            warm: config.warm,
            limit: config.limit,
        };
        let capabilities = parts.provider.capabilities();
        let mut book = Book::new(size, capabilities.spec.clone());
        book.hold.breaker = Breaker::new(parts.account.config().breaker_after);
        let shared = Arc::new(Shared {
            metrics: Metrics::new(&pool, config.objective),
            name: pool,
            capabilities,
            book: Mutex::new(book),
            config,
            parts,
            term: rule.term,
            may_write: rule.may_write,
            queue: ReadyQueue::new(),
            work: Notify::new(),
            retire: Notify::new(),
            looks: Looks::default(),
            occupied: watch::Sender::new(0),
            announcer: Announcer::new(),
            cordoning: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        });
        shared.resume(rows);
        shared.spawn_vital("keeper", shared.clone().keep());
        shared.spawn_vital("retirer", shared.clone().retire());
        shared.spawn_vital("reconciler", shared.clone().reconcile());
        Ok(Self {
            shared,
            _stop: Arc::new(stop.drop_guard()),
        })
    }

    /// As [`Pool::acquire`], without the box: the hot path.
    ///
    /// # Errors
    /// No machine; the error says what was tried.
    ///
    /// # Cancel safety
    /// As for [`Pool::acquire`].
    pub async fn acquire(&self, request: AcquireRequest) -> Result<Lease, AcquireError> {
        self.shared.acquire(&request).await
    }

    /// Whether it is known whose the provider's machines are. It is not where the
    /// journal knew none of them, until a listing has told what there is, and the
    /// agents have told which stages they have.
    pub(crate) fn is_settled(&self) -> bool {
        if self.shared.book.lock().blank {
            return false;
        }
        let machines = self.status().machines;
        !machines
            .iter()
            .any(|machine| machine.state == MachineState::Booting && machine.cause == ADOPTED)
    }

    /// The state of a machine that is on its way out, or gone.
    pub(crate) fn leaving(&self, id: &MachineId) -> Option<MachineState> {
        let book = self.shared.book.lock();
        let state = book
            .machine(id)
            .map_or(MachineState::Gone, |entry| entry.row.state);
        let leaves = matches!(state, MachineState::Draining | MachineState::Terminating);
        (leaves || !state.occupies_slot()).then_some(state)
    }

    /// What happens from now on.
    pub fn events(&self) -> PoolEvents {
        self.shared.announcer.listen()
    }

    /// Changes how many machines are kept ready and how many there may be.
    /// Ready machines that are now too many are ended.
    pub fn resize(&self, warm: u32, limit: u32) {
        self.shared.book.lock().size = Size { warm, limit };
        self.shared.work.notify_one();
    }

    /// As [`Pool::release`], for a stage that does not end by itself: who asks
    /// for it again is told `why`.
    ///
    /// # Errors
    /// The journal could not take it; call again.
    pub async fn stop(&self, stage: &StageId, why: &str) -> Result<(), ReleaseError> {
        let end = StageEnd::Stopped(why.into());
        self.shared.end_stage(stage, why.to_owned(), end).await
    }

    /// Keeps the stage's machine after the stage's end, for so long as `hold`
    /// says: nobody gets it, its slot stays taken, and what is on it stays as
    /// the steps left it. One that is held already is held so long from
    /// now on. Gives the machine's row.
    ///
    /// # Errors
    /// It has no machine, or one that is ending, or it can't be kept so long.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn hold(&self, stage: &StageId, hold: Hold) -> Result<Arc<MachineRow>, HoldError> {
        self.shared.hold(stage, hold).await
    }

    /// Holds the stage's machine no more: one that is held is ended.
    ///
    /// # Errors
    /// It could not be written down.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn let_go(&self, stage: &StageId) -> Result<(), HoldError> {
        self.shared.let_go(stage).await
    }

    /// Takes no new stages until [`WarmPool::fill`]: who waits and who comes is
    /// told so at once, nothing is ordered, and what is there stays; where the
    /// cordon drains, machines that no stage has are ended. Durable.
    ///
    /// # Errors
    /// It could not be written down.
    ///
    /// # Cancel safety
    /// A dropped call may have been written down, and take effect at the pool's
    /// next start only: call again.
    pub async fn cordon(&self, cordon: Cordon) -> Result<(), JournalError> {
        self.shared.cordon(Some(cordon)).await
    }

    /// Takes stages again and orders what is missing at once, durably.
    ///
    /// # Errors
    /// It could not be written down.
    ///
    /// # Cancel safety
    /// As for [`WarmPool::cordon`].
    pub async fn fill(&self) -> Result<(), JournalError> {
        self.shared.cordon(None).await
    }

    /// Takes no more requests, ends the machines that no stage has, and leaves
    /// running stages alone. Those who wait are told `reason`.
    pub fn drain(&self, reason: &str) {
        self.shared.stop_taking(reason);
        self.shared.book.lock().closing = true;
        self.shared.work.notify_one();
    }

    /// Drains, ends running stages too, and waits until the provider said of
    /// each machine that it is gone, but no longer than `patience`. Then the
    /// pool's tasks are ended.
    ///
    /// # Cancel safety
    /// A dropped call leaves the pool shutting down; call again to wait.
    pub async fn shutdown(&self, patience: Duration) -> Leftovers {
        self.shared.book.lock().ending = true;
        self.drain("the pool shuts down");
        self.shared.count_slots();
        let mut occupied = self.shared.occupied.subscribe();
        // Over its time, empty, or another runner's: what is left is read from the book.
        tokio::select! {
            biased;
            _ = tokio::time::timeout(patience, occupied.wait_for(|slots| *slots == 0)) => {}
            () = self.shared.stop.cancelled() => {}
        }
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let book = self.shared.book.lock();
        Leftovers {
            machines: book
                .machines()
                .map(|m| (m.row.id().clone(), m.row.state))
                .collect(),
            open_slots: book.open_slots(),
        }
    }
}

#[async_trait]
impl Pool for WarmPool {
    async fn acquire(&self, request: AcquireRequest) -> Result<Lease, AcquireError> {
        self.shared.acquire(&request).await
    }

    async fn try_acquire(&self, request: AcquireRequest) -> Result<Lease, TryAcquireError> {
        self.shared.try_acquire(&request).await
    }

    async fn attach(&self, stage: &StageId) -> Result<Lease, AttachError> {
        self.shared.attach(stage).await
    }

    async fn release(&self, stage: &StageId) -> Result<(), ReleaseError> {
        self.shared.release(stage).await
    }

    fn release_soon(&self, stage: &StageId) {
        let known = {
            let mut book = self.shared.book.lock();
            let known = book.stage_row(stage).is_some();
            if known {
                book.releases.push(stage.clone());
            }
            known
        };
        if known {
            self.shared.work.notify_one();
        }
    }

    async fn note(&self, stage: &StageId, event: StageEvent) -> Result<(), NoteError> {
        self.shared.note(stage, event).await
    }

    fn keyed_hash(&self, content: &[u8]) -> RequestHash {
        self.shared.parts.link.keyed_hash(content)
    }

    fn status(&self) -> PoolStatus {
        self.shared.status()
    }

    fn term(&self) -> Term {
        self.shared.term
    }
}

impl fmt::Debug for WarmPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmPool")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
