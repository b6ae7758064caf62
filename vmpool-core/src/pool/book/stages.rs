//! The stages of the book: who asks for one's machine, whose claim is in doubt,
//! who has one, who waits for the next, and by when each must be prepared and over.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Book;
use crate::clock::Timestamp;
use crate::id::{MachineId, StageId, StepId};
use crate::journal::{StageRow, StepRow};
use crate::map::Map;
use crate::pool::Origin;
use crate::stage::{StageEnd, StageState, told};

/// A stage whose next machine somebody asks for is looked at again so much
/// later: its request has a deadline of its own.
const ASKED_FOR: Duration = Duration::from_secs(30);

/// A stage that is not over.
#[derive(Debug)]
pub(super) enum StageSlot {
    /// Its request is under way; these wait for the end of it.
    Asked(Followers),
    /// It has its machine.
    Held(StageEntry),
    /// Its machine could not be prepared: it waits for the next one. Where a
    /// request for that is under way, these wait for the end of it.
    Waiting(Arc<StageRow>, Option<Followers>),
}

/// Those who asked for what somebody asks for already. Dropped, they go on;
/// that is to be done outside the lock.
pub(in crate::pool) type Followers = Vec<oneshot::Sender<()>>;

/// Whose turn it is to ask for a stage's machine.
pub(in crate::pool) enum Turn {
    /// The caller's. The stage's row, where it is there: it had a machine before.
    Ours(Option<Arc<StageRow>>),
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
    /// Somebody prepares its machine, and goes on with the next one if that fails.
    /// Cancelled when the stage has left the machine to wait for that.
    pub(in crate::pool) preparing: Option<CancellationToken>,
}

impl Book {
    /// A stage that has its machine.
    pub(in crate::pool) fn stage(&self, id: &StageId) -> Option<&StageEntry> {
        match self.stages.get(id)? {
            StageSlot::Held(entry) => Some(entry),
            StageSlot::Asked(_) | StageSlot::Waiting(..) => None,
        }
    }

    /// A stage that waits for its next machine.
    pub(in crate::pool) fn waiting(&self, id: &StageId) -> Option<&Arc<StageRow>> {
        match self.stages.get(id)? {
            StageSlot::Waiting(row, _) => Some(row),
            StageSlot::Asked(_) | StageSlot::Held(_) => None,
        }
    }

    /// The row of a stage that is not over.
    pub(in crate::pool) fn stage_row(&self, id: &StageId) -> Option<&Arc<StageRow>> {
        match self.stages.get(id)? {
            StageSlot::Held(entry) => Some(&entry.row),
            StageSlot::Waiting(row, _) => Some(row),
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
            StageSlot::Asked(_) | StageSlot::Waiting(..) => None,
        }
    }

    /// Takes a stage's committed row. The followers of its request are the caller's to drop.
    #[must_use]
    pub(in crate::pool) fn put_stage(&mut self, row: Arc<StageRow>, origin: Origin) -> Followers {
        if row.state.is_ended() {
            match self.stages.get_mut(&row.id) {
                Some(StageSlot::Held(_) | StageSlot::Waiting(_, None)) => {
                    self.stages.remove(&row.id);
                }
                // Who asks for it still does, and will be told of its end.
                Some(slot @ StageSlot::Waiting(..)) => {
                    let asked = slot.followers();
                    *slot = StageSlot::Asked(asked);
                }
                Some(StageSlot::Asked(_)) | None => {}
            }
            return Vec::new();
        }
        if row.state == StageState::Prepared {
            self.running.push(Reverse((row.deadline, row.id.clone())));
        }
        let waits = row.state == StageState::Waiting;
        match self.stages.get_mut(&row.id) {
            Some(StageSlot::Held(StageEntry { row: known, .. }) | StageSlot::Waiting(known, _))
                if known.version >= row.version => {}
            Some(StageSlot::Held(known)) if !waits => known.row = row,
            Some(StageSlot::Waiting(known, _)) if waits => *known = row,
            Some(slot @ StageSlot::Asked(_)) if waits => {
                *slot = StageSlot::Waiting(row, Some(slot.followers()));
            }
            Some(slot) => {
                let followers = slot.followers();
                if let StageSlot::Held(StageEntry { preparing, .. }) = slot
                    && let Some(left) = preparing
                {
                    left.cancel();
                }
                *slot = placed(row, origin);
                return followers;
            }
            None => {
                self.stages.insert(row.id.clone(), placed(row, origin));
            }
        }
        Vec::new()
    }

    /// A claim was committed: `by` is when its machine must be prepared. True if
    /// that is sooner than what the keeper looks out for.
    pub(in crate::pool) fn watch_prepare(&mut self, claim: &StageRow, by: Timestamp) -> bool {
        self.watch(by, claim.id.clone(), claim.machine.clone())
    }

    fn watch(&mut self, by: Timestamp, stage: StageId, machine: MachineId) -> bool {
        let watch = (by, stage, machine);
        let soonest = self.preparing.front().is_none_or(|first| by < first.0);
        // One that was read back may be older than those that came since.
        if self.preparing.back().is_some_and(|last| last.0 > by) {
            let at = self.preparing.partition_point(|other| other.0 <= by);
            self.preparing.insert(at, watch);
        } else {
            self.preparing.push_back(watch);
        }
        soonest
    }

    /// Somebody begins to prepare the machine of a stage, or does no more. Gives
    /// the stage's row; none: the machine is not its own.
    pub(in crate::pool) fn prepares(
        &mut self,
        stage: &StageId,
        machine: &MachineId,
        left: Option<CancellationToken>,
    ) -> Option<&StageRow> {
        match self.stages.get_mut(stage)? {
            StageSlot::Held(entry) if entry.row.machine == *machine => {
                entry.preparing = left;
                Some(&entry.row)
            }
            _ => None,
        }
    }

    /// Stages that are over a deadline, and how they end by that; and when to look again.
    pub(in crate::pool) fn overdue(
        &mut self,
        now: Timestamp,
    ) -> (Vec<(StageId, StageEnd)>, Option<Timestamp>) {
        let mut over = Vec::new();
        while let Some((_, stage, machine)) = self.preparing.pop_front_if(|(by, ..)| *by <= now) {
            match self.stages.get(&stage) {
                // Of another machine of the stage nothing is expected any more.
                Some(StageSlot::Held(StageEntry { row, .. }))
                    if row.machine == machine && row.state != StageState::Prepared =>
                {
                    over.push((stage, StageEnd::Unprepared));
                }
                Some(StageSlot::Waiting(row, None)) if row.machine == machine => {
                    let why = format!("{}; nobody asked for another", told(&row.tried));
                    over.push((stage, StageEnd::Stopped(why.into())));
                }
                Some(StageSlot::Waiting(row, Some(_))) if row.machine == machine => {
                    self.watch(now.after(ASKED_FOR), stage, machine);
                }
                _ => {}
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
        let next = self.preparing.front().map(|(by, ..)| *by);
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
                Turn::Ours(None)
            }
            Entry::Occupied(mut slot) => match slot.get_mut() {
                StageSlot::Held(_) => Turn::Held,
                StageSlot::Waiting(row, asked @ None) => {
                    *asked = Some(Vec::new());
                    Turn::Ours(Some(row.clone()))
                }
                StageSlot::Asked(followers) | StageSlot::Waiting(_, Some(followers)) => {
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
        let Some(slot) = self.stages.get_mut(stage) else {
            return Vec::new();
        };
        let followers = slot.followers();
        if matches!(slot, StageSlot::Asked(_)) {
            self.stages.remove(stage);
        }
        followers
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

impl StageSlot {
    /// Takes out those who wait for the end of the stage's request.
    fn followers(&mut self) -> Followers {
        match self {
            Self::Asked(followers) => std::mem::take(followers),
            Self::Waiting(_, asked) => asked.take().unwrap_or_default(),
            Self::Held(_) => Vec::new(),
        }
    }
}

/// A stage that nobody asked for.
fn placed(row: Arc<StageRow>, origin: Origin) -> StageSlot {
    if row.state == StageState::Waiting {
        return StageSlot::Waiting(row, None);
    }
    let steps = Map::default();
    StageSlot::Held(StageEntry {
        row,
        origin,
        steps,
        preparing: None,
    })
}
