//! What a pool's handle and its tasks share, and how those tasks run.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::Book;
use super::events::Announcer;
use super::metrics::Metrics;
use super::reconcile::Looks;
use super::{
    Closed, Evidence, Lease, MachineStatus, Origin, PoolConfig, PoolEvent, PoolParts, PoolStatus,
    ReadyQueue, RequestHash,
};
use crate::clock::Timestamp;
use crate::id::{MachineId, PoolName, StageId, Term};
use crate::journal::{CommitError, MachineRow};
use crate::link::Health;
use crate::machine::MachineState;
use crate::notice::Notice;
use crate::provider::Capabilities;

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
    /// Held while what a person says of the pool is written down.
    pub(super) cordoning: tokio::sync::Mutex<()>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A machine in the queue.
pub(super) struct ReadyMachine {
    pub(super) row: Arc<MachineRow>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) notices: watch::Receiver<Option<Notice>>,
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
        let about = evidence.machine.as_ref().map(tracing::field::display);
        tracing::warn!(pool = %self.name, machine = about, "{}", evidence.text);
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
        let mut book = self.book.lock();
        let slots = book.occupied();
        self.metrics.slots(slots);
        self.count_ready(&mut book);
        self.occupied.send_replace(slots);
    }

    /// Measures how long ready machines were missing, by a look at the book.
    pub(super) fn count_ready(&self, book: &mut Book) {
        let wanted = if book.closing { 0 } else { book.size.warm };
        let ready = book.count(MachineState::Ready);
        for missing in book.refill.look(self.now(), wanted, ready) {
            self.metrics.refilled(missing);
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
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
            hold: entry.row.hold.clone(),
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
            held: book.count(S::Held),
            ending: book.count(S::Draining) + book.count(S::Terminating),
            waiting,
            stopped: book.stopped.as_deref().map(str::to_owned),
            cordon: book.cordon.clone(),
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
