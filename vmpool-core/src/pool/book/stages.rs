//! The stages of the book: who asks for one's machine, whose claim is in doubt,
//! who has one, and by when each must be prepared and over.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Book;
use crate::clock::Timestamp;
use crate::id::{MachineId, StageId, StepId};
use crate::journal::{StageRow, StepRow};
use crate::map::Map;
use crate::pool::Origin;
use crate::stage::{StageEnd, StageState};

/// A stage that is not over.
#[derive(Debug)]
pub(super) enum StageSlot {
    /// Its request is under way; these wait for the end of it.
    Asked(Followers),
    /// It has its machine.
    Held(StageEntry),
}

/// Those who asked for what somebody asks for already. Dropped, they go on;
/// that is to be done outside the lock.
pub(in crate::pool) type Followers = Vec<oneshot::Sender<()>>;

/// Whose turn it is to ask for a stage's machine.
pub(in crate::pool) enum Turn {
    /// The caller's.
    Ours,
    /// Somebody asks already: wait for that.
    Follow(oneshot::Receiver<()>),
    /// The stage has its machine.
    Held,
}

/// A stage that is not over.
#[derive(Debug, Clone)]
pub(in crate::pool) struct StageEntry {
    pub(in crate::pool) row: Arc<StageRow>,
    pub(in crate::pool) origin: Origin,
    pub(in crate::pool) steps: Map<StepId, Arc<StepRow>>,
}

impl Book {
    /// A stage that has its machine.
    pub(in crate::pool) fn stage(&self, id: &StageId) -> Option<&StageEntry> {
        match self.stages.get(id)? {
            StageSlot::Held(entry) => Some(entry),
            StageSlot::Asked(_) => None,
        }
    }

    /// The stage has its machine, or asks for one.
    pub(in crate::pool) fn has_stage(&self, id: &StageId) -> bool {
        self.stages.contains_key(id)
    }

    /// Its steps, to take in what was committed of them.
    pub(in crate::pool) fn steps_mut(
        &mut self,
        id: &StageId,
    ) -> Option<&mut Map<StepId, Arc<StepRow>>> {
        match self.stages.get_mut(id)? {
            StageSlot::Held(entry) => Some(&mut entry.steps),
            StageSlot::Asked(_) => None,
        }
    }

    /// Takes a stage's committed row. The followers of its request are the caller's to drop.
    #[must_use]
    pub(in crate::pool) fn put_stage(&mut self, row: Arc<StageRow>, origin: Origin) -> Followers {
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
    pub(in crate::pool) fn watch_prepare(&mut self, stage: StageId, by: Timestamp) -> bool {
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
    pub(in crate::pool) fn overdue(
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
    pub(in crate::pool) fn ask(&mut self, stage: &StageId) -> Turn {
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
    pub(in crate::pool) fn asked(&mut self, stage: &StageId) -> Followers {
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
    pub(in crate::pool) fn doubt(&mut self, machine: MachineId, stage: StageId) {
        self.doubted.insert(stage.clone());
        self.doubts.push((machine, stage));
    }

    /// The doubts that nobody reads back yet.
    pub(in crate::pool) fn take_doubts(&mut self) -> Vec<(MachineId, StageId)> {
        std::mem::take(&mut self.doubts)
    }

    /// What became of the claim is known: as [`Book::asked`].
    #[must_use]
    pub(in crate::pool) fn settle_doubt(&mut self, stage: &StageId) -> Followers {
        self.doubted.remove(stage);
        self.forget_asked(stage)
    }
}

fn held(row: Arc<StageRow>, origin: Origin) -> StageSlot {
    let steps = Map::default();
    StageSlot::Held(StageEntry { row, origin, steps })
}
