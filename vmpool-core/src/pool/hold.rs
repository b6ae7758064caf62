//! Whether machines are ordered now, and if not, until when and why. What a
//! pool is held off by is of its own: its breaker, places without capacity, a
//! journal that took no order. The account's budget comes on top of that, and
//! is waited for with a [`Pass`](crate::account::Pass).

use tokio::time::Instant;

use super::book::Book;
use super::keeper::JOURNAL_PAUSE;
use super::shared::Shared;
use crate::account::{
    AccountConfig, Allowed, Breaker, CallKind, HeldOff, Mishap, Priority, Shortage,
};
use crate::clock::later;
use crate::machine::MachineState;

/// What to do about missing machines.
pub(super) enum Orders {
    /// None is missing.
    None,
    /// Order at most so many.
    UpTo(u32),
    /// Nothing yet.
    HeldOff(HeldOff),
    /// Nothing until what is on its way shows whether the specification works.
    AfterProbe(String),
}

/// What holds a pool's orders off.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) breaker: Breaker,
    journal: Option<HeldOff>,
    /// Orders that wait for a pass: at most one for requests and one for
    /// refills. What is missing meanwhile goes with it, in one call.
    asking: [bool; 2],
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            breaker: Breaker::new(AccountConfig::default().breaker_after),
            journal: None,
            asking: [false; 2],
        }
    }
}

impl Hold {
    /// The journal took no order. That is no failure of the provider's.
    pub(super) fn not_written(&mut self, reason: String) {
        let until = later(JOURNAL_PAUSE);
        self.journal = Some(HeldOff { until, reason });
    }

    /// False: such an order waits for its pass already.
    pub(super) fn begin_asking(&mut self, priority: Priority) -> bool {
        !std::mem::replace(self.asks(priority), true)
    }

    pub(super) fn end_asking(&mut self, priority: Priority) {
        *self.asks(priority) = false;
    }

    fn asks(&mut self, priority: Priority) -> &mut bool {
        &mut self.asking[usize::from(priority != Priority::Request)]
    }
}

impl Book {
    /// What to order while so many requests wait.
    pub(super) fn orders(&self, waiting: u32, shortage: &Shortage, now: Instant) -> Orders {
        let missing = self.shortfall(waiting);
        if missing == 0 {
            return Orders::None;
        }
        if let Some(held) = self.hold.journal.as_ref().filter(|held| held.until > now) {
            return Orders::HeldOff(held.clone());
        }
        let coming = self.open_slots() + self.count(MachineState::Booting);
        let most = match self.hold.breaker.allows(coming, now) {
            Allowed::UpTo(most) => most,
            Allowed::NotBefore(held) => return Orders::HeldOff(held),
            Allowed::AfterProbe(why) => return Orders::AfterProbe(why.to_string()),
        };
        let Some(until) = shortage.until else {
            return Orders::UpTo(missing.min(most));
        };
        // Those who wait have no other place: for them it is asked all the same.
        match waiting.saturating_sub(coming).min(missing).min(most) {
            0 => Orders::HeldOff(HeldOff {
                until,
                reason: "the provider had no capacity, and nobody waits".to_owned(),
            }),
            urgent => Orders::UpTo(urgent),
        }
    }
}

impl Shared {
    pub(super) fn waiting(&self) -> u32 {
        u32::try_from(self.queue.waiting()).unwrap_or(u32::MAX)
    }

    /// An order or its machine failed: the breaker counts it.
    pub(super) fn failed(&self, mishap: Mishap, reason: &str) {
        {
            let mut book = self.book.lock();
            let was_open = book.hold.breaker.is_open();
            book.hold.breaker.failed(mishap, reason, Instant::now());
            let is_open = book.hold.breaker.is_open();
            if is_open && !was_open {
                book.waits.tell_again();
            }
            self.metrics.breaker(is_open);
        }
        self.work.notify_one();
    }

    /// Why no machines are ordered though `waiting` requests ask for some.
    pub(super) fn held_off(&self, waiting: u32) -> Option<String> {
        let account = &self.parts.account;
        let shortage = account.shortage(&self.capabilities);
        let orders = self.book.lock().orders(waiting, &shortage, Instant::now());
        match orders {
            Orders::None => None,
            Orders::HeldOff(held) => Some(held.to_string()),
            Orders::AfterProbe(why) => Some(format!("until one machine is ready on trial: {why}")),
            Orders::UpTo(_) => account
                .held_off(CallKind::Launch)
                .map(|held| held.to_string()),
        }
    }
}
