//! The pool's rows as it knows them: what the journal says, held in memory,
//! with the counts that decide what to do next. Pure: no I/O, no waiting.
//!
//! The journal is the truth. A row comes in here only after it was committed.

mod stages;
mod supply;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::stages::StageSlot;
pub(super) use self::stages::{StageEntry, Turn};
use super::hold::Hold;
use super::refill::Refill;
use super::waits::Waits;
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId, StageId};
use crate::journal::{Cordon, MachineRow, OrderRow};
use crate::machine::MachineState;
use crate::map::{Map, Set};
use crate::pool::Evidence;
use crate::reconcile::Known;

/// Failures kept for people and for the requests that wait.
const EVIDENCE_KEPT: usize = 32;

/// The pool's memory.
#[derive(Debug, Default)]
pub(super) struct Book {
    machines: Map<MachineId, MachineEntry>,
    /// Those of them that are held.
    held: Set<MachineId>,
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
    /// Fingerprint of the template that machines are launched from now.
    spec: Arc<str>,
    /// Ready machines of another one.
    old: u32,
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
    /// Every prepare deadline, in order: it is one span for the whole pool. It is
    /// of the stage's time on that machine.
    preparing: VecDeque<(Timestamp, StageId, MachineId)>,
    /// Deadlines of the stages that are prepared.
    running: BinaryHeap<Reverse<(Timestamp, StageId)>>,
    evidence: VecDeque<Evidence>,
    pub(super) waits: Waits,
    /// Ready machines that are missing.
    pub(super) refill: Refill,
    /// Why no requests are taken.
    pub(super) stopped: Option<Arc<str>>,
    /// A person has said that it takes no new stages.
    pub(super) cordon: Option<Arc<Cordon>>,
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

impl Book {
    pub(super) fn new(size: Size, spec: Arc<str>) -> Self {
        Self {
            size,
            spec,
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
        use MachineState::{Draining, Held, Ready, Terminating};
        let is_old = row.is_of_another(&self.spec);
        let known = self.machines.get_mut(row.id());
        if let Some(known) = &known {
            if known.row.version >= row.version {
                return;
            }
            self.counts[known.row.state as usize] -= 1;
            // A machine's template never changes.
            self.old -= u32::from(is_old && known.row.state == Ready);
            match known.row.state {
                Held => drop(self.held.remove(row.id())),
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
        self.old += u32::from(is_old && row.state == Ready);
        match row.state {
            Held => drop(self.held.insert(row.id().clone())),
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

    /// Machines whose holds are over, and when the next one's is.
    pub(super) fn held_over(&self, now: Timestamp) -> (Vec<MachineId>, Option<Timestamp>) {
        let mut over = Vec::new();
        let mut next: Option<Timestamp> = None;
        for id in &self.held {
            let row = self.machines.get(id).map(|entry| &entry.row);
            let until = row.and_then(|row| row.hold.as_ref()?.until);
            match until.filter(|until| *until > now) {
                Some(until) => next = Some(next.map_or(until, |next| next.min(until))),
                None => over.push(id.clone()),
            }
        }
        (over, next)
    }

    /// The machine that the stage has, or had and that is there still.
    pub(super) fn machine_of(&self, stage: &StageId) -> Option<&MachineEntry> {
        let mut machines = self.machines.values();
        machines.find(|entry| entry.row.stage.as_ref() == Some(stage))
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
