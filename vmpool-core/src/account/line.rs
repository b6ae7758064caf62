//! Who waits for a kind of call, and whose turn is next. Pure.
//!
//! The most urgent goes first, within one priority the oldest. Turns that pass
//! the oldest over are counted, and after [`PASSED_OVER`] of them it has its
//! turn. So one who joins behind `n` others has its turn after `8 × (n + 1)`
//! turns at the latest, however urgent those are who come later.

use std::collections::BTreeMap;

use super::Priority;

/// Turns in a row that may pass the oldest over.
pub(super) const PASSED_OVER: u32 = 7;

/// A place in the line; tickets sort as their turns come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) priority: Priority,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Line<T> {
    waiting: BTreeMap<Ticket, T>,
    next: u64,
    passed_over: u32,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
            passed_over: 0,
        }
    }

    pub(super) fn join(&mut self, priority: Priority, waiter: T) -> Ticket {
        let number = self.next;
        self.next += 1;
        let ticket = Ticket { priority, number };
        self.waiting.insert(ticket, waiter);
        ticket
    }

    /// One who does not wait any more; no matter if it had its turn.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Takes out whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let urgent = *self.waiting.keys().next()?;
        let oldest = *self.waiting.keys().min_by_key(|ticket| ticket.number)?;
        let turn = if oldest == urgent || self.passed_over >= PASSED_OVER {
            self.passed_over = 0;
            oldest
        } else {
            self.passed_over += 1;
            urgent
        };
        self.waiting.remove(&turn)
    }

    /// Those who wait, the most urgent first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Priority, &T)> {
        let waiting = self.waiting.iter();
        waiting.map(|(ticket, waiter)| (ticket.priority, waiter))
    }
}
