//! The pool's rows as it knows them: what the journal says, held in memory,
//! with the counts that decide what to do next. Pure: no I/O, no waiting.
//!
//! The journal is the truth. A row comes in here only after it was committed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, StageId, StepId};
use crate::journal::{MachineRow, OrderRow, StageRow, StepRow};
use crate::machine::MachineState;
use crate::pool::{Evidence, Origin, PoolConfig};
use crate::stage::StageState;

/// Failures kept for people and for the requests that wait.
const EVIDENCE_KEPT: usize = 32;

/// The pool's memory.
#[derive(Debug, Default)]
pub(super) struct Book {
    machines: HashMap<MachineId, MachineEntry>,
    orders: HashMap<OrderId, Arc<OrderRow>>,
    pub(super) stages: HashMap<StageId, StageEntry>,
    /// Stages whose request is under way, and who waits for the same.
    asking: HashMap<StageId, Vec<oneshot::Sender<()>>>,
    counts: [u32; MachineState::ALL.len()],
    /// Open slots of the orders that are written down.
    open: u32,
    /// Slots of orders that are being written down.
    reserved: u32,
    /// Claims whose writing was broken off: read back what became of them.
    doubts: Vec<(MachineId, StageId)>,
    /// Their stages, until that is done. A retry waits for it.
    doubted: HashSet<StageId>,
    /// Releases that nobody waits for.
    pub(super) releases: Vec<StageId>,
    /// Machines that were found sick when their turn came.
    pub(super) sick: Vec<MachineId>,
    /// Every prepare deadline, in order: it is one span for the whole pool.
    preparing: VecDeque<(Timestamp, StageId)>,
    /// Deadlines of the stages that are prepared.
    running: BinaryHeap<Reverse<(Timestamp, StageId)>>,
    evidence: VecDeque<Evidence>,
    /// Why no requests are taken.
    pub(super) stopped: Option<Arc<str>>,
    /// The pool shuts down: machines that nobody has are ended.
    pub(super) closing: bool,
    pub(super) backoff: Backoff,
}

/// A machine as the pool holds it.
#[derive(Debug, Clone)]
pub(super) struct MachineEntry {
    pub(super) row: Arc<MachineRow>,
    /// Cancelled when nobody needs to tend it any more.
    pub(super) tended: CancellationToken,
}

/// A stage that is not over.
#[derive(Debug, Clone)]
pub(super) struct StageEntry {
    pub(super) row: Arc<StageRow>,
    pub(super) origin: Origin,
    pub(super) steps: HashMap<StepId, Arc<StepRow>>,
}

/// Holds launches off after failures.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
}

impl Book {
    pub(super) fn machine(&self, id: &MachineId) -> Option<&MachineEntry> {
        self.machines.get(id)
    }

    pub(super) fn machines(&self) -> impl Iterator<Item = &MachineEntry> {
        self.machines.values()
    }

    pub(super) fn order(&self, id: &OrderId) -> Option<&Arc<OrderRow>> {
        self.orders.get(id)
    }

    /// Takes a machine's committed row. An older one than is known is passed over.
    pub(super) fn put_machine(&mut self, row: Arc<MachineRow>) {
        let occupies = row.state.occupies_slot();
        let known = self.machines.get_mut(row.id());
        if let Some(known) = &known {
            if known.row.version >= row.version {
                return;
            }
            self.counts[known.row.state as usize] -= 1;
        }
        if !occupies {
            if let Some(gone) = self.machines.remove(row.id()) {
                gone.tended.cancel();
            }
            return;
        }
        self.counts[row.state as usize] += 1;
        match known {
            Some(known) => {
                if matches!(
                    row.state,
                    MachineState::Draining | MachineState::Terminating
                ) {
                    known.tended.cancel();
                }
                known.row = row;
            }
            None => {
                let tended = CancellationToken::new();
                self.machines
                    .insert(row.id().clone(), MachineEntry { row, tended });
            }
        }
    }

    /// Takes an order's committed row.
    pub(super) fn put_order(&mut self, row: Arc<OrderRow>) {
        if let Some(known) = self.orders.get(&row.id) {
            if known.version >= row.version {
                return;
            }
            self.open -= known.state.open;
        }
        self.open += row.state.open;
        if row.state.is_settled() {
            self.orders.remove(&row.id);
        } else {
            self.orders.insert(row.id.clone(), row);
        }
    }

    /// Takes a stage's committed row.
    pub(super) fn put_stage(&mut self, row: Arc<StageRow>, origin: Origin) {
        if row.state.is_ended() {
            self.stages.remove(&row.id);
            return;
        }
        if row.state == StageState::Prepared {
            self.running.push(Reverse((row.deadline, row.id.clone())));
        }
        match self.stages.get_mut(&row.id) {
            Some(known) if known.row.version >= row.version => {}
            Some(known) => known.row = row,
            None => {
                let steps = HashMap::new();
                self.stages
                    .insert(row.id.clone(), StageEntry { row, origin, steps });
            }
        }
    }

    /// A claim was committed: `by` is when it must be prepared.
    pub(super) fn watch_prepare(&mut self, stage: StageId, by: Timestamp) {
        self.preparing.push_back((by, stage));
    }

    /// Stages that are over a deadline, with its name; and when to look again.
    pub(super) fn overdue(
        &mut self,
        now: Timestamp,
    ) -> (Vec<(StageId, &'static str)>, Option<Timestamp>) {
        let mut over = Vec::new();
        while let Some((_, stage)) = self.preparing.pop_front_if(|(by, _)| *by <= now) {
            let unprepared = |entry: &StageEntry| entry.row.state != StageState::Prepared;
            if self.stages.get(&stage).is_some_and(unprepared) {
                over.push((stage, "it was not prepared in time"));
            }
        }
        while self
            .running
            .peek()
            .is_some_and(|Reverse((by, _))| *by <= now)
        {
            if let Some(Reverse((_, stage))) = self.running.pop()
                && self.stages.contains_key(&stage)
            {
                over.push((stage, "the stage's own deadline"));
            }
        }
        let next = self.preparing.front().map(|(by, _)| *by);
        let next = next
            .into_iter()
            .chain(self.running.peek().map(|Reverse((by, _))| *by))
            .min();
        (over, next)
    }

    /// The stage's request is this caller's to make, or somebody makes it
    /// already: then this ends when that one is through.
    pub(super) fn ask(&mut self, stage: &StageId) -> Option<oneshot::Receiver<()>> {
        if let Some(followers) = self.asking.get_mut(stage) {
            let (through, wait) = oneshot::channel();
            followers.push(through);
            return Some(wait);
        }
        self.asking.insert(stage.clone(), Vec::new());
        None
    }

    /// The request is through, well or not, unless its claim is in doubt. The
    /// result, dropped outside the lock, wakes those who asked for the same.
    #[must_use]
    pub(super) fn asked(&mut self, stage: &StageId) -> Option<Vec<oneshot::Sender<()>>> {
        if self.doubted.contains(stage) {
            return None;
        }
        self.asking.remove(stage)
    }

    /// Nobody saw the end of a claim's write.
    pub(super) fn doubt(&mut self, machine: MachineId, stage: StageId) {
        self.doubted.insert(stage.clone());
        self.doubts.push((machine, stage));
    }

    /// The doubts that nobody reads back yet.
    pub(super) fn take_doubts(&mut self) -> Vec<(MachineId, StageId)> {
        std::mem::take(&mut self.doubts)
    }

    /// What became of the claim is known: as [`Book::asked`].
    #[must_use]
    pub(super) fn settle_doubt(&mut self, stage: &StageId) -> Option<Vec<oneshot::Sender<()>>> {
        self.doubted.remove(stage);
        self.asking.remove(stage)
    }

    pub(super) fn count(&self, state: MachineState) -> u32 {
        self.counts[state as usize]
    }

    /// Slots that the limit counts (P7).
    pub(super) fn occupied(&self) -> u32 {
        self.counts[..MachineState::Gone as usize]
            .iter()
            .sum::<u32>()
            + self.open
            + self.reserved
    }

    pub(super) fn open_slots(&self) -> u32 {
        self.open + self.reserved
    }

    /// Machines that are ready, or will be.
    fn supply(&self) -> u32 {
        use MachineState::{Booting, Ready, Resuming};
        self.count(Ready) + self.count(Booting) + self.count(Resuming) + self.open_slots()
    }

    /// How many machines to order now: desired − (ready + booting + ordered), within the limit.
    pub(super) fn shortfall(&self, config: &PoolConfig, waiting: u32) -> u32 {
        if self.closing || self.stopped.is_some() {
            return 0;
        }
        let desired = config.warm.saturating_add(waiting);
        let room = config.limit.saturating_sub(self.occupied());
        desired.saturating_sub(self.supply()).min(room)
    }

    /// How many ready machines are more than desired.
    pub(super) fn excess(&self, config: &PoolConfig, waiting: u32) -> u32 {
        let desired = config.warm.saturating_add(waiting);
        self.supply()
            .saturating_sub(desired)
            .min(self.count(MachineState::Ready))
    }

    pub(super) fn reserve(&mut self, slots: u32) {
        self.reserved += slots;
    }

    pub(super) fn unreserve(&mut self, slots: u32) {
        self.reserved -= slots;
    }

    pub(super) fn add_evidence(&mut self, evidence: Evidence) {
        if self.evidence.len() == EVIDENCE_KEPT {
            self.evidence.pop_front();
        }
        self.evidence.push_back(evidence);
    }

    /// What went wrong since `since`.
    pub(super) fn evidence(&self, since: Timestamp) -> Vec<Evidence> {
        self.evidence
            .iter()
            .filter(|evidence| evidence.at >= since)
            .cloned()
            .collect()
    }
}
