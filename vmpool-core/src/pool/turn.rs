//! What a request holds while it is under way: the stage's turn to ask, and a
//! machine whose claim is being written. Both say in their drop what becomes of
//! it where the request is broken off.

use std::sync::Arc;

use super::queue::Claim;
use super::shared::{ReadyMachine, Shared};
use crate::id::{MachineId, StageId};
use crate::journal::StageRow;

/// Holds the stage's request; dropped before that is through, those who wait
/// for the same go on.
pub(super) struct Asking<'a> {
    pub(super) shared: &'a Shared,
    pub(super) stage: Option<&'a StageId>,
    /// The stage's row, where it had a machine before and waits for the next.
    pub(super) before: Option<Arc<StageRow>>,
}

impl Asking<'_> {
    /// The stage has its machine, and the book says so.
    pub(super) fn through(mut self) {
        self.stage = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Some(stage) = self.stage else { return };
        let followers = self.shared.book.lock().asked(stage);
        // Outside the lock: each wakes its waiter.
        drop(followers);
        // The machine that it wanted may be one too many now.
        self.shared.work.notify_one();
    }
}

/// A machine whose claim is being written. Dropped before the answer came, it
/// leaves a doubt for the keeper to read back.
pub(super) struct Submitted<'a> {
    shared: &'a Shared,
    claim: Option<Claim<ReadyMachine>>,
    stage: &'a StageId,
}

impl<'a> Submitted<'a> {
    pub(super) fn new(shared: &'a Shared, claim: Claim<ReadyMachine>, stage: &'a StageId) -> Self {
        Self {
            shared,
            claim: Some(claim),
            stage,
        }
    }

    /// Nothing was written: the machine goes to the next who waits.
    pub(super) fn not_written(mut self) {
        drop(self.claim.take());
    }

    /// The machine's fate is known; it does not go back to the queue.
    pub(super) fn settled(mut self) -> ReadyMachine {
        self.claim.take().expect("a claim is settled once").keep()
    }
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            let machine: MachineId = claim.keep().row.id().clone();
            self.shared.book.lock().doubt(machine, self.stage.clone());
            self.shared.work.notify_one();
        }
    }
}
