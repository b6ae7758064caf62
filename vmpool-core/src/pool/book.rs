//! The pool's rows as it knows them: what the journal says, held in memory,
//! with the counts that decide what to do next. Pure: no I/O, no waiting.
//!
//! The journal is the truth. A row comes in here only after it was committed.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::hold::Hold;
use super::waits::Waits;
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, StageId, StepId};
use crate::journal::{MachineRow, OrderRow, StageRow, StepRow};
use crate::machine::MachineState;
use crate::map::{Map, Set};
use crate::pool::{Evidence, Origin};
use crate::reconcile::Known;
use crate::stage::{StageEnd, StageState};

/// Failures kept for people and for the requests that wait.
const EVIDENCE_KEPT: usize = 32;

/// The pool's memory.
#[derive(Debug, Default)]
pub(super) struct Book {
    machines: Map<MachineId, MachineEntry>,
    /// Those of them that are draining.
    draining: Set<MachineId>,
    /// Those of them that are terminating.
    terminating: Set<MachineId>,
    orders: Map<OrderId, Arc<OrderRow>>,
    /// Those of them whose launch is over, so that listings must tell.
    settling: Set<OrderId>,
    stages: Map<StageId, StageSlot>,
    pub(super) size: Size,
    counts: [u32; MachineState::ALL.len()],
    /// Open slots of the orders that are written down.
    open: u32,
    /// Slots of orders that are being written down.
    reserved: u32,
    /// Claims whose writing was broken off: read back what became of them.
    doubts: Vec<(MachineId, StageId)>,
    /// Their stages, until that is done. A retry waits for it.
    doubted: Set<StageId>,
    /// Releases that nobody waits for.
    pub(super) releases: Vec<StageId>,
    /// Machines that can't be handed out, and why.
    pub(super) unfit: Vec<(MachineId, &'static str)>,
    /// Machines that are being drained by tasks of their own.
    leaving: Set<MachineId>,
    /// Every prepare deadline, in order: it is one span for the whole pool.
    preparing: VecDeque<(Timestamp, StageId)>,
    /// Deadlines of the stages that are prepared.
    running: BinaryHeap<Reverse<(Timestamp, StageId)>>,
    evidence: VecDeque<Evidence>,
    pub(super) waits: Waits,
    /// Why no requests are taken.
    pub(super) stopped: Option<Arc<str>>,
    /// The pool drains: machines that nobody has are ended.
    pub(super) closing: bool,
    /// The pool shuts down: those that stages have are ended too.
    pub(super) ending: bool,
    /// The journal knew nothing at the start: it is new, or it was lost and the
    /// provider has machines of ours (P7). Nothing is ordered before a look.
    pub(super) blank: bool,
    /// What holds orders off.
    pub(super) hold: Hold,
}

/// How many machines there shall be.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Size {
    pub(super) warm: u32,
    pub(super) limit: u32,
}

/// A stage that is not over.
#[derive(Debug)]
enum StageSlot {
    /// Its request is under way; these wait for the end of it.
    Asked(Followers),
    /// It has its machine.
    Held(StageEntry),
}

/// Those who asked for what somebody asks for already. Dropped, they go on;
/// that is to be done outside the lock.
pub(super) type Followers = Vec<oneshot::Sender<()>>;

/// Whose turn it is to ask for a stage's machine.
pub(super) enum Turn {
    /// The caller's.
    Ours,
    /// Somebody asks already: wait for that.
    Follow(oneshot::Receiver<()>),
    /// The stage has its machine.
    Held,
}

/// A machine as the pool holds it.
#[derive(Debug, Clone)]
pub(super) struct MachineEntry {
    pub(super) row: Arc<MachineRow>,
    /// Cancelled when nobody needs to tend it any more.
    pub(super) tended: CancellationToken,
    /// Cancelled when it is gone or lost.
    pub(super) over: CancellationToken,
    salvage: Salvaging,
}

/// How far what is on a draining machine is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Salvaging {
    NotBegun,
    UnderWay,
    Over,
}

/// A draining machine's next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// Save what is on it, and say so by [`Book::salvaged`].
    Salvage(MachineId),
    /// End it.
    End(MachineId),
}

/// A stage that is not over.
#[derive(Debug, Clone)]
pub(super) struct StageEntry {
    pub(super) row: Arc<StageRow>,
    pub(super) origin: Origin,
    pub(super) steps: Map<StepId, Arc<StepRow>>,
}

impl Book {
    pub(super) fn new(size: Size) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

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
        use MachineState::{Draining, Terminating};
        let known = self.machines.get_mut(row.id());
        if let Some(known) = &known {
            if known.row.version >= row.version {
                return;
            }
            self.counts[known.row.state as usize] -= 1;
            match known.row.state {
                Draining => drop(self.draining.remove(row.id())),
                Terminating => drop(self.terminating.remove(row.id())),
                _ => {}
            }
        }
        if matches!(row.state, Draining | Terminating) || !row.state.occupies_slot() {
            // Who tended it may have been about to drain it.
            self.leaving.remove(row.id());
        }
        if !row.state.occupies_slot() {
            if let Some(gone) = self.machines.remove(row.id()) {
                gone.over.cancel();
            }
            return;
        }
        self.counts[row.state as usize] += 1;
        match row.state {
            Draining => drop(self.draining.insert(row.id().clone())),
            Terminating => drop(self.terminating.insert(row.id().clone())),
            _ => {}
        }
        if let Some(known) = known {
            if matches!(row.state, Draining | Terminating) {
                known.tended.cancel();
            }
            known.row = row;
        } else {
            let over = CancellationToken::new();
            let entry = MachineEntry {
                tended: over.child_token(),
                over,
                salvage: Salvaging::NotBegun,
                row,
            };
            self.machines.insert(entry.row.id().clone(), entry);
        }
    }

    /// What must be done with the draining machines. `salvages`: somebody
    /// saves what is on those that a stage had; each is told of once.
    pub(super) fn drained(&mut self, salvages: bool) -> Vec<Drained> {
        let mut next = Vec::new();
        for id in &self.draining {
            let Some(entry) = self.machines.get_mut(id) else {
                continue;
            };
            let served = entry.row.stage.is_some();
            match entry.salvage {
                Salvaging::NotBegun if salvages && served => {
                    entry.salvage = Salvaging::UnderWay;
                    next.push(Drained::Salvage(id.clone()));
                }
                Salvaging::UnderWay => {}
                Salvaging::NotBegun | Salvaging::Over => next.push(Drained::End(id.clone())),
            }
        }
        next
    }

    /// Nothing more is saved of the machine.
    pub(super) fn salvaged(&mut self, id: &MachineId) {
        if let Some(entry) = self.machines.get_mut(id) {
            entry.salvage = Salvaging::Over;
        }
    }

    /// Machines that the provider is told to end.
    pub(super) fn terminating(&self) -> Vec<MachineId> {
        self.terminating.iter().cloned().collect()
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
            self.settling.remove(&row.id);
        } else {
            self.orders.insert(row.id.clone(), row);
        }
    }

    /// Those of them for longer than `patience`.
    pub(super) fn terminating_since(&self, now: Timestamp, patience: Duration) -> Set<MachineId> {
        let late = self.terminating.iter().filter(|id| {
            let entry = self.machines.get(*id);
            entry.is_some_and(|entry| now.since(entry.row.since) > patience)
        });
        late.cloned().collect()
    }

    /// Nobody waits for the order's launch any more: listings tell what it got.
    pub(super) fn settle_by_listings(&mut self, id: &OrderId) {
        if self.orders.contains_key(id) {
            self.settling.insert(id.clone());
        }
    }

    /// What is held against a listing.
    pub(super) fn known(&self) -> Known {
        let orders = self.orders.values();
        Known::new(
            self.machines.values().map(|entry| entry.row.clone()),
            orders.map(|row| (row.clone(), self.settling.contains(&row.id))),
        )
    }

    /// A stage that has its machine.
    pub(super) fn stage(&self, id: &StageId) -> Option<&StageEntry> {
        match self.stages.get(id)? {
            StageSlot::Held(entry) => Some(entry),
            StageSlot::Asked(_) => None,
        }
    }

    /// The stage has its machine, or asks for one.
    pub(super) fn has_stage(&self, id: &StageId) -> bool {
        self.stages.contains_key(id)
    }

    /// Its steps, to take in what was committed of them.
    pub(super) fn steps_mut(&mut self, id: &StageId) -> Option<&mut Map<StepId, Arc<StepRow>>> {
        match self.stages.get_mut(id)? {
            StageSlot::Held(entry) => Some(&mut entry.steps),
            StageSlot::Asked(_) => None,
        }
    }

    /// Takes a stage's committed row. The followers of its request are the caller's to drop.
    #[must_use]
    pub(super) fn put_stage(&mut self, row: Arc<StageRow>, origin: Origin) -> Followers {
        if row.state.is_ended() {
            if self.stage(&row.id).is_some() {
                self.stages.remove(&row.id);
            }
            return Vec::new();
        }
        if row.state == StageState::Prepared {
            self.running.push(Reverse((row.deadline, row.id.clone())));
        }
        match self.stages.get_mut(&row.id) {
            Some(StageSlot::Held(known)) => {
                if known.row.version < row.version {
                    known.row = row;
                }
                Vec::new()
            }
            Some(asked) => match std::mem::replace(asked, held(row, origin)) {
                StageSlot::Asked(followers) => followers,
                StageSlot::Held(_) => Vec::new(),
            },
            None => {
                self.stages.insert(row.id.clone(), held(row, origin));
                Vec::new()
            }
        }
    }

    /// A claim was committed: `by` is when it must be prepared. True if that is
    /// sooner than what the keeper looks out for.
    pub(super) fn watch_prepare(&mut self, stage: StageId, by: Timestamp) -> bool {
        let soonest = self.preparing.front().is_none_or(|(first, _)| by < *first);
        // One that was read back may be older than those that came since.
        if self.preparing.back().is_some_and(|(last, _)| *last > by) {
            let at = self.preparing.partition_point(|(other, _)| *other <= by);
            self.preparing.insert(at, (by, stage));
        } else {
            self.preparing.push_back((by, stage));
        }
        soonest
    }

    /// Stages that are over a deadline, and how they end by that; and when to look again.
    pub(super) fn overdue(
        &mut self,
        now: Timestamp,
    ) -> (Vec<(StageId, StageEnd)>, Option<Timestamp>) {
        let mut over = Vec::new();
        while let Some((_, stage)) = self.preparing.pop_front_if(|(by, _)| *by <= now) {
            let unprepared = |entry: &StageEntry| entry.row.state != StageState::Prepared;
            if self.stage(&stage).is_some_and(unprepared) {
                over.push((stage, StageEnd::Unprepared));
            }
        }
        while self
            .running
            .peek()
            .is_some_and(|Reverse((by, _))| *by <= now)
        {
            if let Some(Reverse((_, stage))) = self.running.pop()
                && self.stage(&stage).is_some()
            {
                over.push((stage, StageEnd::OverTime("the stage's own deadline".into())));
            }
        }
        let next = self.preparing.front().map(|(by, _)| *by);
        let next = next
            .into_iter()
            .chain(self.running.peek().map(|Reverse((by, _))| *by))
            .min();
        (over, next)
    }

    /// Whose turn it is to ask for `stage`.
    pub(super) fn ask(&mut self, stage: &StageId) -> Turn {
        match self.stages.entry(stage.clone()) {
            Entry::Vacant(place) => {
                place.insert(StageSlot::Asked(Vec::new()));
                Turn::Ours
            }
            Entry::Occupied(mut slot) => match slot.get_mut() {
                StageSlot::Held(_) => Turn::Held,
                StageSlot::Asked(followers) => {
                    // Some may have lost their patience since.
                    followers.retain(|follower| !follower.is_closed());
                    let (through, wait) = oneshot::channel();
                    followers.push(through);
                    Turn::Follow(wait)
                }
            },
        }
    }

    /// The request ended without a machine, unless its claim is in doubt.
    #[must_use]
    pub(super) fn asked(&mut self, stage: &StageId) -> Followers {
        if self.doubted.contains(stage) {
            return Vec::new();
        }
        self.forget_asked(stage)
    }

    fn forget_asked(&mut self, stage: &StageId) -> Followers {
        if !matches!(self.stages.get(stage), Some(StageSlot::Asked(_))) {
            return Vec::new();
        }
        match self.stages.remove(stage) {
            Some(StageSlot::Asked(followers)) => followers,
            _ => Vec::new(),
        }
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
    pub(super) fn settle_doubt(&mut self, stage: &StageId) -> Followers {
        self.doubted.remove(stage);
        self.forget_asked(stage)
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

    /// Machines that are ready, or will be; not those that are about to drain.
    fn supply(&self) -> u32 {
        let lost = self.leaving.iter().filter(|id| {
            let entry = self.machines.get(*id);
            entry.is_some_and(|entry| is_supply(entry.row.state))
        });
        let lost = u32::try_from(lost.count()).unwrap_or(u32::MAX);
        (self.count(MachineState::Ready) + self.coming()).saturating_sub(lost)
    }

    /// Those that are not ready yet.
    fn coming(&self) -> u32 {
        use MachineState::{Booting, Resuming};
        self.count(Booting) + self.count(Resuming) + self.open_slots()
    }

    /// How many machines to order now: desired − (ready + booting + ordered), within the limit.
    pub(super) fn shortfall(&self, waiting: u32) -> u32 {
        if self.closing || self.blank || self.stopped.is_some() {
            return 0;
        }
        let desired = self.size.warm.saturating_add(waiting);
        let room = self.size.limit.saturating_sub(self.occupied());
        desired.saturating_sub(self.supply()).min(room)
    }

    /// How many of `idle` machines are more than desired, or than may be: those
    /// that are adopted come unasked. Idle are those in the queue: what is ready
    /// but not there is on its way out, or to a stage.
    pub(super) fn excess(&self, waiting: u32, idle: u32) -> u32 {
        let desired = self.size.warm.saturating_add(waiting);
        let unwanted = (idle + self.coming()).saturating_sub(desired);
        let too_many = self.staying().saturating_sub(self.size.limit);
        unwanted.max(too_many).min(idle)
    }

    /// Slots whose machines are not on their way out.
    fn staying(&self) -> u32 {
        let about_to = self
            .leaving
            .iter()
            .filter(|id| !self.draining.contains(*id) && !self.terminating.contains(*id));
        let leaving = self.draining.len() + self.terminating.len() + about_to.count();
        self.occupied()
            .saturating_sub(u32::try_from(leaving).unwrap_or(u32::MAX))
    }

    /// Machines that a draining pool ends, and nobody does yet.
    pub(super) fn unwanted(&self) -> Vec<MachineId> {
        use MachineState::{Booting, Claimed, Ready, Resuming, Suspended, Suspending};
        let rows = self.machines.values().map(|entry| &entry.row);
        rows.filter(|row| match row.state {
            Booting | Ready | Suspending | Suspended | Resuming => true,
            Claimed => self.ending,
            _ => false,
        })
        .map(|row| row.id())
        .filter(|id| !self.leaving.contains(*id))
        .cloned()
        .collect()
    }

    /// True if nobody drains the machine yet: the caller does from now on.
    pub(super) fn begin_leaving(&mut self, id: &MachineId) -> bool {
        self.leaving.insert(id.clone())
    }

    /// Nobody drains the machine any more.
    pub(super) fn end_leaving(&mut self, id: &MachineId) {
        self.leaving.remove(id);
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

fn is_supply(state: MachineState) -> bool {
    use MachineState::{Booting, Ready, Resuming};
    matches!(state, Booting | Ready | Resuming)
}

fn held(row: Arc<StageRow>, origin: Origin) -> StageSlot {
    let steps = Map::default();
    StageSlot::Held(StageEntry { row, origin, steps })
}
