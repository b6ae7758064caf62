//! The reconciler at work: one task that asks the provider what it has, now and
//! then and whenever somebody wants to know, and carries out what
//! [`reconcile::plan`] says.
//!
//! Whoever waits for a listing's word (an order whose launch never answered, a
//! machine that is told to end or has no address yet) asks here, so that one
//! listing serves all, and nobody goes through it alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::look::Pause;
use super::shared::Shared;
use crate::account::Priority;
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId};
use crate::provider::Listing;
use crate::reconcile::{self, Absences, Input, Past, Unaccounted};

/// Whoever asks for a look waits for it no longer than this.
const LOOK_PATIENCE: Duration = Duration::from_mins(2);
/// A pool that does not know yet what the provider has looks again this much later.
const BLANK_PAUSE: Duration = Duration::from_secs(2);

/// Those who ask for a look, and those who have been served.
#[derive(Debug, Default)]
pub(super) struct Looks {
    asked: watch::Sender<u64>,
    answered: watch::Sender<u64>,
    pub(super) verdict: Mutex<Verdict>,
}

/// What the last pass found.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict {
    /// When it was made, if there was one.
    pub(super) at: Option<Timestamp>,
    /// What it could not account for.
    pub(super) unaccounted: Vec<Unaccounted>,
}

/// What the reconciler keeps from one pass to the next.
struct Passes {
    absences: Absences,
    /// What may still be ended before the next regular pass.
    may_end: u32,
    alarmed: bool,
}

impl Shared {
    /// Returns when a listing that was begun after this call has been taken
    /// in, or could not be had.
    pub(super) async fn look(&self) {
        let mut ours = 0;
        self.looks.asked.send_modify(|asked| {
            *asked += 1;
            ours = *asked;
        });
        let mut answered = self.looks.answered.subscribe();
        let answer = answered.wait_for(|answered| *answered >= ours);
        // Too late or never: whoever asked looks at what is known, and asks again.
        let _ = tokio::time::timeout(LOOK_PATIENCE, answer).await;
    }

    /// As [`Shared::look`], for whoever need not wait.
    pub(super) fn look_soon(&self) {
        self.looks.asked.send_modify(|asked| *asked += 1);
    }

    /// Waits until listings have told what became of an order whose launch
    /// never answered. From now on nobody but the reconciler changes it.
    pub(super) async fn settle(&self, id: &OrderId) {
        self.book.lock().settle_by_listings(id);
        let mut pause = Pause::new();
        while self.book.lock().order(id).is_some() {
            self.look().await;
            pause.wait().await;
        }
    }

    /// The reconciler's loop.
    pub(super) async fn reconcile(self: Arc<Self>) {
        let config = self.config.reconcile;
        let mut ticks = tokio::time::interval(config.every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = self.looks.asked.subscribe();
        let mut passes = Passes {
            absences: Absences::default(),
            may_end: config.most_terminations,
            alarmed: false,
        };
        // Nothing is ordered before it is known what there is.
        let mut blank = false;
        loop {
            let regular = tokio::select! {
                biased;
                _ = ticks.tick() => true,
                // The sender lives as long as `self`.
                _ = asked.changed() => false,
                () = tokio::time::sleep(BLANK_PAUSE), if blank => false,
            };
            if regular {
                passes.may_end = config.most_terminations;
                passes.alarmed = false;
            }
            let priority = match asked.has_changed() {
                Ok(false) if regular => Priority::Audit,
                _ => self.urgency(),
            };
            let mut serves = *asked.borrow_and_update();
            let mut all_known = false;
            if *self.may_write.borrow() {
                let listing = self.list_for(priority, &mut asked, &mut serves).await;
                if let Some(listing) = listing {
                    all_known = self.pass(&listing, &mut passes).await && listing.complete;
                }
            }
            self.looks.answered.send_replace(serves);
            if *asked.borrow() != serves {
                asked.mark_changed();
            }
            if all_known && std::mem::take(&mut self.book.lock().blank) {
                self.work.notify_one();
            }
            blank = self.book.lock().blank;
        }
    }

    /// A listing, and whom it `serves`: who asks while it is waited for may have
    /// come too late. But those who are more urgent don't wait behind it.
    async fn list_for(
        &self,
        priority: Priority,
        asked: &mut watch::Receiver<u64>,
        serves: &mut u64,
    ) -> Option<Listing> {
        let mut first = pin!(self.list(priority));
        loop {
            tokio::select! {
                biased;
                listing = &mut first => return listing,
                // The sender lives as long as `self`.
                _ = asked.changed() => {}
            }
            if self.urgency() < priority {
                break;
            }
        }
        let serves_more = *asked.borrow_and_update();
        // Where the first is not under way yet, both are the same listing.
        let mut urgent = pin!(self.list(self.urgency()));
        let listing = tokio::select! {
            biased;
            listing = &mut urgent => {
                *serves = serves_more;
                return listing;
            }
            listing = &mut first => listing,
        };
        tokio::select! {
            biased;
            listing = &mut urgent => {
                *serves = serves_more;
                listing
            }
            () = std::future::ready(()) => listing,
        }
    }

    /// For what the look was asked for, by what the pool is at.
    fn urgency(&self) -> Priority {
        if !self.book.lock().terminating().is_empty() {
            Priority::Terminate
        } else if self.queue.waiting() > 0 {
            Priority::Request
        } else {
            Priority::Refill
        }
    }

    /// True: each machine that the listing shows, or should, has its row.
    async fn pass(self: &Arc<Self>, listing: &Listing, passes: &mut Passes) -> bool {
        let begun = Instant::now();
        let known = self.book.lock().known();
        let past = self.past(known.strangers(listing)).await;
        let plan = {
            let link = &self.parts.link;
            let input = Input {
                known: &known,
                past: &past,
                listing,
                window: self.capabilities.consistency_window,
                now: self.now(),
                may_end: passes.may_end,
                answers: &|id| link.health(id).borrow().is_answering(),
            };
            reconcile::plan(&input, &mut passes.absences)
        };
        passes.may_end = passes.may_end.saturating_sub(plan.ends);
        if plan.held_back > 0 && !passes.alarmed {
            passes.alarmed = true;
            self.hold_back(plan.held_back);
        }
        let failed = self.carry_out(plan.actions).await;
        let mut unaccounted = plan.unaccounted;
        unaccounted.extend(failed);
        self.metrics.reconciled(unaccounted.len(), begun.elapsed());
        let all_known = unaccounted.is_empty();
        *self.looks.verdict.lock() = Verdict {
            at: Some(self.now()),
            unaccounted,
        };
        all_known
    }

    /// What the journal says of machines that the book has not.
    async fn past(&self, strangers: impl Iterator<Item = &MachineId>) -> Past {
        let mut past = Past::new();
        for id in strangers {
            match self.parts.journal.machine(id).await {
                Ok(row) => drop(past.insert(id.clone(), row)),
                Err(error) => self.trouble(Some(id), error.to_string()),
            }
        }
        past
    }

    fn hold_back(&self, count: u32) {
        let most = self.config.reconcile.most_terminations;
        let every = self.config.reconcile.every;
        let text = format!(
            "{count} more machines would be ended for what the provider lists or does not, \
             and {most} were within {every:?}: they are left alone"
        );
        tracing::error!(pool = %self.name, "{text}");
        self.metrics.held_back(count);
        self.trouble(None, text);
    }
}
