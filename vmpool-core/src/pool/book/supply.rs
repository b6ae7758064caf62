//! What the book counts: slots that are taken, machines that are ready or will
//! be, and so how many are too few, or too many.
//!
//! Ready machines of an old template are replaced a few at a time: so many more
//! than wanted are ordered, and when those are ready, old ones are too many.
//! Thus no fewer are ready meanwhile; only where the limit has no room for one
//! more, one is ended first. If the new template fails, the old machines stay.

use super::Book;
use crate::id::MachineId;
use crate::machine::MachineState;

impl Book {
    pub(in crate::pool) fn count(&self, state: MachineState) -> u32 {
        self.counts[state as usize]
    }

    /// Slots that the limit counts (P7).
    pub(in crate::pool) fn occupied(&self) -> u32 {
        self.counts[..MachineState::Gone as usize]
            .iter()
            .sum::<u32>()
            + self.open
            + self.reserved
    }

    pub(in crate::pool) fn open_slots(&self) -> u32 {
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
    pub(in crate::pool) fn shortfall(&self, waiting: u32) -> u32 {
        let takes_none = self.stopped.is_some() || self.cordon.is_some();
        if self.closing || self.blank || takes_none {
            return 0;
        }
        let desired = self.desired(waiting).saturating_add(self.replaced());
        let room = self.size.limit.saturating_sub(self.occupied());
        desired.saturating_sub(self.supply()).min(room)
    }

    fn desired(&self, waiting: u32) -> u32 {
        self.size.warm.saturating_add(waiting)
    }

    /// How many machines of an old template are being replaced: at most a tenth
    /// of those that are kept ready.
    fn replaced(&self) -> u32 {
        self.old.min(self.size.warm.div_ceil(10))
    }

    /// How many of `idle` machines are more than desired, or than may be: those
    /// that are adopted come unasked. Idle are those in the queue: what is ready
    /// but not there is on its way out, or to a stage.
    pub(in crate::pool) fn excess(&self, waiting: u32, idle: u32) -> u32 {
        let (desired, replaced) = (self.desired(waiting), self.replaced());
        let unwanted = (idle + self.coming()).saturating_sub(desired.saturating_add(replaced));
        // Of those that are ready, others take the place.
        let unwanted = unwanted.max(idle.saturating_sub(desired));
        let too_many = self.staying().saturating_sub(self.size.limit);
        let makes_room = replaced > 0
            && idle >= self.size.limit
            && self.stopped.is_none()
            && !self.hold.breaker.is_open();
        unwanted.max(too_many).max(u32::from(makes_room)).min(idle)
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

    /// Machines that no stage has are ended.
    pub(in crate::pool) fn is_draining(&self) -> bool {
        let by_word = self.cordon.as_ref().is_some_and(|cordon| cordon.drains);
        self.closing || by_word
    }

    /// Machines that a draining pool ends, and nobody does yet.
    pub(in crate::pool) fn unwanted(&self) -> Vec<MachineId> {
        use MachineState::{Booting, Claimed, Held, Ready, Resuming, Suspended, Suspending};
        let rows = self.machines.values().map(|entry| &entry.row);
        rows.filter(|row| match row.state {
            Booting | Ready | Suspending | Suspended | Resuming => true,
            Claimed | Held => self.ending,
            _ => false,
        })
        .map(|row| row.id())
        .filter(|id| !self.leaving.contains(*id))
        .cloned()
        .collect()
    }

    /// True if nobody drains the machine yet: the caller does from now on.
    pub(in crate::pool) fn begin_leaving(&mut self, id: &MachineId) -> bool {
        self.leaving.insert(id.clone())
    }

    /// Nobody drains the machine any more.
    pub(in crate::pool) fn end_leaving(&mut self, id: &MachineId) {
        self.leaving.remove(id);
    }

    pub(in crate::pool) fn reserve(&mut self, slots: u32) {
        self.reserved += slots;
    }

    pub(in crate::pool) fn unreserve(&mut self, slots: u32) {
        self.reserved -= slots;
    }
}

fn is_supply(state: MachineState) -> bool {
    use MachineState::{Booting, Ready, Resuming};
    matches!(state, Booting | Ready | Resuming)
}
