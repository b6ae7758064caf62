//! The keeper: one task that looks at the book when something changed, and
//! sets going what must be done. It waits for nothing itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Origin;
use super::hold::Orders;
use super::shared::Shared;
use crate::account::Priority;
use crate::id::{MachineId, StageId};
use crate::journal::{JournalError, MachineRow, PoolRows, StageRecord, StageRow};
use crate::machine::MachineState;
use crate::stage::{StageEnd, StageState};

/// After a journal that took no write, work is tried again this much later.
pub(super) const JOURNAL_PAUSE: Duration = Duration::from_secs(1);
/// A stage that is not prepared at the pool's start has at least so long: while
/// nobody was there, nobody could prepare it, and its caller asks again.
const ASKS_AGAIN: Duration = Duration::from_secs(30);

impl Shared {
    /// The keeper's loop.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let wake_at = self.turn();
            tokio::select! {
                biased;
                () = self.work.notified() => {}
                () = tokio::time::sleep_until(wake_at.unwrap_or_else(Instant::now)),
                    if wake_at.is_some() => {}
            }
        }
    }

    /// Sets going what must be done now; says when to look again.
    fn turn(self: &Arc<Self>) -> Option<Instant> {
        let now = self.now();
        let (doubts, releases, unfit, (overdue, next), (held, held_next), draining, notes) = {
            let mut book = self.book.lock();
            self.count_ready(&mut book);
            (
                book.take_doubts(),
                std::mem::take(&mut book.releases),
                std::mem::take(&mut book.unfit),
                book.overdue(now),
                book.held_over(now),
                book.is_draining(),
                book.waits.begin_writing(),
            )
        };
        if notes {
            self.spawn("write notes", self.clone().write_notes());
        }
        for (machine, stage) in doubts {
            self.spawn("read back a claim", self.clone().read_back(machine, stage));
        }
        for stage in releases {
            self.spawn(
                "release",
                self.clone()
                    .release_until_written(stage, StageEnd::Released),
            );
        }
        for (id, why) in unfit {
            self.drain_soon(id, why, None);
        }
        for id in held {
            self.drain_soon(id, "its hold is over", None);
        }
        let next = next.into_iter().chain(held_next).min();
        for (stage, end) in overdue {
            self.spawn(
                "end a stage",
                self.clone().release_until_written(stage, end),
            );
        }
        if draining {
            self.drain_unwanted();
            return next.map(|at| self.parts.clock.instant(at));
        }
        self.drain_excess();
        let refill = self.refill();
        let next = next.map(|at| self.parts.clock.instant(at));
        [next, refill].into_iter().flatten().min()
    }

    /// Sets an order of what is missing going; says when to try again where it
    /// is held off.
    fn refill(self: &Arc<Self>) -> Option<Instant> {
        let waiting = self.waiting();
        if self.book.lock().shortfall(waiting) == 0 {
            return None;
        }
        if waiting > 0 {
            self.tell_waiting();
        }
        let shortage = self.parts.account.shortage(&self.capabilities);
        let priority = if waiting > 0 {
            Priority::Request
        } else {
            Priority::Refill
        };
        let begins = {
            let mut book = self.book.lock();
            match book.orders(waiting, &shortage, Instant::now()) {
                Orders::UpTo(_) => book.hold.begin_asking(priority),
                Orders::HeldOff(held) => return Some(held.until),
                Orders::None | Orders::AfterProbe(_) => return None,
            }
        };
        if begins {
            self.spawn("order", self.clone().order(priority));
        }
        None
    }

    fn drain_excess(self: &Arc<Self>) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (waiting, idle) = (count(self.queue.waiting()), count(self.queue.ready()));
        let excess = { self.book.lock().excess(waiting, idle) };
        for _ in 0..excess {
            let spec = &self.capabilities.spec;
            let old = self.queue.take(|ready| ready.row.is_of_another(spec));
            let Some(ready) = old.or_else(|| self.queue.take(|_| true)) else {
                return;
            };
            let why = if ready.row.is_of_another(spec) {
                "the pool's machines are of another kind now"
            } else {
                "more are ready than wanted"
            };
            self.drain_soon(ready.row.id().clone(), why, None);
        }
    }

    /// A pool that drains ends what no stage has; one that shuts down, everything.
    fn drain_unwanted(self: &Arc<Self>) {
        let (unwanted, closing, ending) = {
            let book = self.book.lock();
            (book.unwanted(), book.closing, book.ending)
        };
        let cause = match (closing, ending) {
            (_, true) => "the pool shuts down",
            (true, false) => "the pool drains",
            (false, false) => "the pool was drained",
        };
        let end = ending.then(|| StageEnd::Stopped(cause.into()));
        for id in unwanted {
            self.drain_soon(id, cause, end.clone());
        }
    }

    async fn release_until_written(self: Arc<Self>, stage: StageId, end: StageEnd) {
        let cause = end.to_string();
        while let Err(error) = self.end_stage(&stage, cause.clone(), end.clone()).await {
            self.trouble(None, error.to_string());
            tokio::time::sleep(JOURNAL_PAUSE).await;
        }
    }

    /// A claim's write was broken off: what does the journal say? Until it has
    /// answered, retries of the stage's request wait.
    async fn read_back(self: Arc<Self>, machine: MachineId, stage: StageId) {
        loop {
            match self.read_claim(&machine, &stage).await {
                Ok(Some((row, claim))) => {
                    let prepare = self.config.deadlines.prepare;
                    let by = claim.claimed_at.after(prepare);
                    self.enter_claim(row, claim, Origin::Attached, by);
                    self.work.notify_one();
                    break;
                }
                // Not this machine's, so the machine is nobody's: it is drained,
                // and a write that is still under way loses the swap. Or it wins
                // it: then the claim stands, and is read once more.
                Ok(None) => {
                    let cause = "its claim was broken off";
                    self.drain(&machine, cause, None).await;
                    if !self.has(&machine, &stage) {
                        break;
                    }
                    continue;
                }
                Err(error) => self.trouble(Some(&machine), error.to_string()),
            }
            tokio::time::sleep(JOURNAL_PAUSE).await;
        }
        let followers = self.book.lock().settle_doubt(&stage);
        // Outside the lock: each wakes its waiter.
        drop(followers);
    }

    /// The machine is that stage's.
    pub(super) fn has(&self, machine: &MachineId, stage: &StageId) -> bool {
        self.book.lock().machine(machine).is_some_and(|entry| {
            entry.row.state == MachineState::Claimed && entry.row.stage.as_ref() == Some(stage)
        })
    }

    async fn read_claim(
        &self,
        machine: &MachineId,
        stage: &StageId,
    ) -> Result<Option<(Arc<MachineRow>, Arc<StageRow>)>, JournalError> {
        let claim = self
            .parts
            .journal
            .stage(stage)
            .await?
            .map(|record| record.stage);
        let claim = claim.filter(|row| row.machine == *machine && !row.state.is_ended());
        let Some(claim) = claim else { return Ok(None) };
        let row = self.parts.journal.machine(machine).await?;
        Ok(row.map(|row| (row, claim)))
    }

    /// A machine that can't be handed out, and is not in the queue any more.
    pub(super) fn unfit(&self, machine: &MachineId, why: &'static str) {
        self.book.lock().unfit.push((machine.clone(), why));
        self.work.notify_one();
    }

    /// Goes on with what the journal knows, at the pool's start.
    pub(super) fn resume(self: &Arc<Self>, rows: PoolRows) {
        if let Some(cordon) = rows.cordon {
            self.stands_cordoned(Some(Arc::new(cordon)));
        }
        let prepare = self.config.deadlines.prepare;
        let soonest = self.now().after(ASKS_AGAIN.min(prepare));
        {
            let mut book = self.book.lock();
            book.blank = rows.orders.is_empty() && rows.machines.is_empty();
            for order in &rows.orders {
                book.put_order(order.clone());
            }
            for machine in &rows.machines {
                book.put_machine(machine.clone());
            }
            // What is left to do of those that have ended is their steps' followers'.
            let going_on = |record: &StageRecord| !record.stage.state.is_ended();
            for record in rows.stages.into_iter().filter(going_on) {
                let by = record.stage.claimed_at.after(prepare).max(soonest);
                let id = record.stage.id.clone();
                if record.stage.state != StageState::Prepared {
                    book.watch_prepare(&record.stage, by);
                }
                // Nobody can have asked yet.
                let _ = book.put_stage(record.stage, Origin::Attached);
                if let Some(steps) = book.steps_mut(&id) {
                    *steps = record
                        .steps
                        .into_iter()
                        .map(|step| (step.id.clone(), step))
                        .collect();
                }
            }
        }
        for order in rows.orders {
            self.spawn("replay an order", self.clone().replay(order));
        }
        // Those of running stages first: somebody waits for what runs there.
        let mut machines = rows.machines;
        machines.sort_by_key(|row| row.stage.is_none());
        for machine in machines {
            self.tend_soon(machine.id());
        }
        self.count_slots();
        self.retire.notify_one();
    }
}
