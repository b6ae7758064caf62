//! [`WarmPool`]: the pool, its parts, its start and its end.

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
use super::{
    AcquireError, AcquireRequest, AttachError, Closed, Evidence, Lease, MachineStatus, NoteError,
    Origin, Pool, PoolConfig, PoolEvent, PoolEvents, PoolStatus, ReadyQueue, ReleaseError,
    RequestHash, Salvage, TryAcquireError,
};
use crate::account::{Account, Breaker};
use crate::clock::{Clock, Timestamp};
use crate::id::{MachineId, PoolName, StageId, Term};
use crate::journal::{CommitError, Journal, JournalError, MachineRow};
use crate::link::{AgentLink, Health};
use crate::machine::MachineState;
use crate::notice::Notice;
use crate::provider::{Capabilities, Provider};
use crate::reconcile::ADOPTED;
use crate::stage::StageEvent;

/// What a pool is built from.
#[derive(Clone)]
pub struct PoolParts {
    /// Where its machines come from.
    pub provider: Arc<dyn Provider>,
    /// The line to their agents.
    pub link: Arc<dyn AgentLink>,
    /// What it remembers.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Clock,
    /// Who saves what only a machine has, before it is ended.
    pub salvage: Option<Arc<dyn Salvage>>,
    /// The budget of calls to the provider's account.
    pub account: Account,
}

impl PoolParts {
    /// Parts of a pool whose machines hold nothing that must be saved.
    pub fn new(
        provider: Arc<dyn Provider>,
        link: Arc<dyn AgentLink>,
        journal: Arc<dyn Journal>,
        clock: Clock,
    ) -> Self {
        Self {
            provider,
            link,
            journal,
            clock,
            salvage: None,
            account: Account::default(),
        }
    }

    /// The same, sharing an account's budget with other pools.
    #[must_use]
    pub fn with_account(self, account: Account) -> Self {
        Self { account, ..self }
    }

    /// The same with somebody who saves.
    #[must_use]
    pub fn with_salvage(self, salvage: Arc<dyn Salvage>) -> Self {
        Self {
            salvage: Some(salvage),
            ..self
        }
    }
}

/// Under what a pool rules, where its owner keeps that in the journal.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The term, from [`Journal::take`].
    pub term: Term,
    /// False while the lease was not renewed in time: nothing is written then.
    pub may_write: watch::Receiver<bool>,
}

impl fmt::Debug for PoolParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolParts").finish_non_exhaustive()
    }
}

/// Why a pool did not start.
#[derive(Debug, Clone, thiserror::Error)]
#[error("start pool {pool}")]
pub struct StartError {
    /// The pool.
    pub pool: PoolName,
    /// What the journal said.
    #[source]
    pub source: JournalError,
}

/// Machines that were not gone when the patience of a shut-down ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// The machines, with their states.
    pub machines: Vec<(MachineId, MachineState)>,
    /// Slots of which it is not known whether a machine fills them.
    pub open_slots: u32,
}

impl Leftovers {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty() && self.open_slots == 0
    }
}

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

/// What the pool's tasks share.
pub(super) struct Shared {
    pub(super) config: PoolConfig,
    pub(super) name: PoolName,
    pub(super) parts: PoolParts,
    pub(super) capabilities: Capabilities,
    pub(super) term: Term,
    pub(super) may_write: watch::Receiver<bool>,
    pub(super) queue: Arc<ReadyQueue<ReadyMachine>>,
    pub(super) book: Mutex<Book>,
    /// Wakes the keeper.
    pub(super) work: Notify,
    /// Wakes who ends machines.
    pub(super) retire: Notify,
    /// Wakes who holds the book against the provider.
    pub(super) looks: Looks,
    /// Slots in use: what a shut-down waits for.
    pub(super) occupied: watch::Sender<u32>,
    pub(super) announcer: Announcer,
    pub(super) metrics: Metrics,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A machine in the queue.
pub(super) struct ReadyMachine {
    pub(super) row: Arc<MachineRow>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) notices: watch::Receiver<Option<Notice>>,
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

    /// Starts a pool that was taken by [`Journal::take`], on what its journal
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
        let mut book = Book::new(size);
        book.hold.breaker = Breaker::new(parts.account.config().breaker_after);
        let shared = Arc::new(Shared {
            metrics: Metrics::new(&pool),
            name: pool,
            capabilities: parts.provider.capabilities(),
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
            let known = book.stage(stage).is_some();
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

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// Waits until the pool's lease holds: before that nothing is written, nor
    /// is the provider told anything.
    pub(super) async fn allowed(&self) {
        let mut may_write = self.may_write.clone();
        if may_write.wait_for(|may| *may).await.is_err() {
            // Nobody will ever say so.
            std::future::pending::<()>().await;
        }
    }

    /// Runs `task` until it ends or the pool stops, whichever is first.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        let span = tracing::debug_span!("pool task", pool = %self.name, task = name);
        let task = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        };
        self.tasks
            .spawn(tracing::Instrument::instrument(task, span));
    }

    /// As [`Shared::spawn`], for a task without which the pool is none: where a
    /// bug ends it, the pool takes no requests any more, and says so.
    pub(super) fn spawn_vital(
        self: &Arc<Self>,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let vital = Vital {
            shared: self.clone(),
            name,
        };
        self.spawn(name, async move {
            let _vital = vital;
            task.await;
        });
    }

    /// Something went wrong: kept for those who wait and for people.
    pub(super) fn trouble(&self, machine: Option<&MachineId>, text: impl Into<String>) {
        let evidence = Evidence {
            at: self.now(),
            machine: machine.cloned(),
            text: text.into(),
        };
        tracing::warn!(pool = %self.name, machine = ?evidence.machine, "{}", evidence.text);
        self.announcer.tell(|| PoolEvent::Trouble(evidence.clone()));
        self.metrics.trouble();
        self.book.lock().add_evidence(evidence);
    }

    /// Takes no requests from now on. The first reason stays.
    pub(super) fn stop_taking(&self, reason: &str) {
        let first = {
            let mut book = self.book.lock();
            let first = book.stopped.is_none();
            book.stopped.get_or_insert_with(|| reason.into());
            first
        };
        if first {
            self.announcer.tell(|| PoolEvent::Stopped {
                reason: reason.to_owned(),
            });
        }
        self.queue.close(Closed(reason.into()));
    }

    /// Another runner rules the pool: nothing of it may be changed from here
    /// any more, so its tasks end (DESIGN §6).
    pub(super) fn fenced(&self, error: &CommitError) {
        self.stop_taking(&error.to_string());
        self.stop.cancel();
    }

    /// The book changed in a way that frees or takes slots.
    pub(super) fn count_slots(&self) {
        // Told under the lock, so that an older count never comes last.
        let book = self.book.lock();
        let slots = book.occupied();
        self.metrics.slots(slots);
        self.occupied.send_replace(slots);
    }

    fn status(&self) -> PoolStatus {
        use MachineState as S;
        let waiting = u32::try_from(self.queue.waiting()).unwrap_or(u32::MAX);
        let held_off = self.held_off(waiting);
        let verdict = self.looks.verdict.lock().clone();
        let book = self.book.lock();
        let machines = book.machines().map(|entry| MachineStatus {
            id: entry.row.id().clone(),
            state: entry.row.state,
            since: entry.row.since,
            stage: entry.row.stage.clone(),
            cause: entry.row.cause.clone(),
        });
        PoolStatus {
            name: self.name.clone(),
            term: self.term,
            warm: book.size.warm,
            limit: book.size.limit,
            ready: book.count(S::Ready),
            booting: book.count(S::Booting) + book.count(S::Resuming),
            ordered: book.open_slots(),
            claimed: book.count(S::Claimed),
            ending: book.count(S::Draining) + book.count(S::Terminating),
            waiting,
            stopped: book.stopped.as_deref().map(str::to_owned),
            unaccounted: verdict.unaccounted,
            checked_at: verdict.at,
            waiters: book.waits.waiters(),
            held_off,
            machines: machines.collect(),
            evidence: book.evidence(Timestamp(0)),
        }
    }

    /// The lease of a stage that has its machine.
    pub(super) fn lease_of(&self, stage: &StageId) -> Option<(Lease, Option<RequestHash>)> {
        let book = self.book.lock();
        let entry = book.stage(stage)?;
        let machine = book.machine(&entry.row.machine)?;
        let lease = Lease {
            stage: stage.clone(),
            machine: machine.row.machine.clone(),
            term: self.term,
            claimed_at: entry.row.claimed_at,
            deadline: entry.row.deadline,
            origin: Origin::Attached,
        };
        Some((lease, entry.row.hash))
    }
}

impl fmt::Debug for WarmPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmPool")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// Held by a task that the pool can't be without.
struct Vital {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = format!("a bug ended its {}", self.name);
            self.shared.stop_taking(&reason);
        }
    }
}
