//! What is known of a pool besides its rows: its term, its slots, its owner.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{PoolName, RunnerId, Term};
use crate::journal::{Cordon, Holder, Ownership, Taken};

/// A pool that ever had a term.
#[derive(Debug, Default)]
pub(super) struct PoolEntry {
    pub(super) term: Term,
    /// Slots that its rows occupy (P7).
    pub(super) slots: u32,
    pub(super) cordon: Option<Cordon>,
    lease: Option<Lease>,
}

#[derive(Debug)]
struct Lease {
    holder: Holder,
    until: Timestamp,
}

impl PoolEntry {
    pub(super) fn raise(&mut self, now: Timestamp) -> Term {
        self.term = Term((self.term.0 + 1).max(now.0));
        self.term
    }

    pub(super) fn take(
        &mut self,
        pool: &PoolName,
        holder: &Holder,
        lease: Duration,
        now: Timestamp,
    ) -> Taken {
        if let Some(held) = &self.lease
            && held.until > now
            && held.holder.runner != holder.runner
        {
            return Taken::Theirs(self.ownership(pool, now));
        }
        self.lease = Some(Lease {
            holder: holder.clone(),
            until: now.after(lease),
        });
        Taken::Ours(self.raise(now))
    }

    /// False: another term rules it, or nobody owns it.
    pub(super) fn renew(&mut self, term: Term, until: Timestamp) -> bool {
        match &mut self.lease {
            Some(held) if self.term == term => {
                held.until = until;
                true
            }
            _ => false,
        }
    }

    pub(super) fn give_up(&mut self, term: Term, now: Timestamp) {
        if let Some(held) = &mut self.lease
            && self.term == term
        {
            held.until = held.until.min(now);
        }
    }

    pub(super) fn ownership(&self, pool: &PoolName, now: Timestamp) -> Ownership {
        let (holder, left) = match &self.lease {
            Some(lease) => (lease.holder.clone(), lease.until.since(now)),
            None => (
                Holder {
                    runner: RunnerId::new(""),
                    url: "".into(),
                },
                Duration::ZERO,
            ),
        };
        Ownership {
            pool: pool.clone(),
            holder,
            term: self.term,
            left,
        }
    }
}
