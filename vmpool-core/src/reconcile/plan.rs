//! One pass: a listing against the rows. No I/O, no waiting, one look at each.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Absences, Known, Past};
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId};
use crate::journal::MachineRow;
use crate::machine::MachineState;
use crate::map::{Map, Set};
use crate::provider::{Launched, Listed, ListedState, Listing};

/// Why a machine boots that the journal did not know: its agent has not said yet
/// whose it is.
pub(crate) const ADOPTED: &str =
    "the provider shows it under our tags, and the journal did not know it";

/// What a pass goes out from.
pub struct Input<'a> {
    /// The living rows, read after the listing was answered: what is written
    /// meanwhile must not look like a stranger.
    pub known: &'a Known,
    /// What became of the listing's machines that are not among them.
    pub past: &'a Past,
    /// The provider's machines of this deployment and pool.
    pub listing: &'a Listing,
    /// For how long after a call a listing may not show what it did.
    pub window: Duration,
    /// The present.
    pub now: Timestamp,
    /// How many machines this pass may end.
    pub may_end: u32,
    /// The machine's agent answers: a better witness than a listing's silence.
    pub answers: &'a dyn Fn(&MachineId) -> bool,
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("now", &self.now)
            .field("may_end", &self.may_end)
            .finish_non_exhaustive()
    }
}

/// What must be done about one machine or order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Machines that fill open slots of an order whose launch never answered.
    Bind {
        /// The order.
        order: OrderId,
        /// The machines.
        machines: Vec<Launched>,
    },
    /// Slots of the order that no machine fills.
    ProveAbsent {
        /// The order.
        order: OrderId,
        /// How many.
        slots: u32,
        /// Why that is known.
        cause: Cow<'static, str>,
    },
    /// Ours, alive, and not in the journal: it gets a row.
    Adopt {
        /// As the provider shows it.
        listed: Listed,
        /// Why.
        cause: Cow<'static, str>,
    },
    /// As for [`Action::Adopt`], but expired or ending: its row is one that drains.
    AdoptToEnd {
        /// As the provider shows it.
        listed: Listed,
        /// Why.
        cause: Cow<'static, str>,
    },
    /// A living row that nobody saw the writing of: it is taken in.
    ReadBack {
        /// The row.
        row: Arc<MachineRow>,
    },
    /// The provider has it no more: it is gone, or lost.
    Over {
        /// The machine.
        machine: MachineId,
        /// How that is known.
        cause: Cow<'static, str>,
    },
    /// The journal says that it is over, and it is not: it is ended again.
    EndAgain {
        /// The row that says so.
        row: Arc<MachineRow>,
        /// Why.
        cause: Cow<'static, str>,
    },
    /// Its address was not known.
    Learn {
        /// The machine.
        machine: MachineId,
        /// Its address.
        address: SocketAddr,
    },
}

/// What a pass found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What must be done, in any order.
    pub actions: Vec<Action>,
    /// Of these, what uses up [`Input::may_end`].
    pub ends: u32,
    /// What would end further machines, and is left undone for its bound.
    pub held_back: u32,
    /// Machines that the provider shows and no living row stands for when this
    /// is done, and rows of machines that it does not show.
    pub unaccounted: Vec<Unaccounted>,
}

/// A machine that is not accounted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaccounted {
    /// The machine.
    pub machine: MachineId,
    /// Why it is not.
    pub why: Cow<'static, str>,
}

/// Holds a listing against the rows.
pub fn plan(input: &Input<'_>, absences: &mut Absences) -> Plan {
    let mut pass = Pass {
        input,
        plan: Plan::default(),
        shown: Set::default(),
        found: Map::default(),
        unread: Set::default(),
    };
    for listed in &input.listing.machines {
        match input.known.machines.get(&listed.id) {
            Some(row) => pass.known(row, listed),
            None => pass.stranger(listed),
        }
    }
    if pass.shown.len() < input.known.machines.len() {
        for row in input.known.machines.values() {
            if !pass.shown.contains(row.id()) {
                pass.absent(row, absences);
            }
        }
    }
    pass.settle(absences);
    absences.machines.turn();
    absences.orders.turn();
    pass.plan
}

struct Pass<'a> {
    input: &'a Input<'a>,
    plan: Plan,
    /// Rows whose machines the listing shows.
    shown: Set<&'a MachineId>,
    /// Machines of orders that are settled by listings.
    found: Map<&'a OrderId, Vec<&'a Listed>>,
    /// Those of them that a machine names which could not be looked up.
    unread: Set<&'a OrderId>,
}

impl<'a> Pass<'a> {
    fn known(&mut self, row: &MachineRow, listed: &'a Listed) {
        self.shown.insert(&listed.id);
        if self.is_over(listed) {
            return;
        }
        if let (None, Some(address)) = (row.machine.address, listed.address) {
            let machine = listed.id.clone();
            self.plan.actions.push(Action::Learn { machine, address });
        }
    }

    /// A machine with a row is shown as terminated: that counts at once.
    fn is_over(&mut self, listed: &Listed) -> bool {
        let over = listed.state == ListedState::Terminated;
        if over {
            let machine = listed.id.clone();
            let cause = "the provider says that it is terminated".into();
            self.plan.actions.push(Action::Over { machine, cause });
        }
        over
    }

    fn stranger(&mut self, listed: &'a Listed) {
        if let Some((id, order)) = self.input.known.orders.get_key_value(&listed.tags.order) {
            if !order.settling {
                return;
            }
            // One that is over already filled a slot as well, and is told of.
            match self.input.past.get(&listed.id) {
                Some(None) => return self.found.entry(id).or_default().push(listed),
                Some(Some(_)) => {}
                // It may be the order's, so nothing is proven absent.
                None => drop(self.unread.insert(id)),
            }
        }
        if listed.state == ListedState::Terminated {
            return;
        }
        match self.input.past.get(&listed.id) {
            Some(Some(row)) if row.state.occupies_slot() => {
                let row = row.clone();
                self.plan.actions.push(Action::ReadBack { row });
            }
            Some(Some(row)) => self.end_again(row, listed),
            Some(None) => self.adopt(listed),
            None => self.unaccounted(
                &listed.id,
                "the provider shows it, and the journal could not be asked for it",
            ),
        }
    }

    /// Ours, and the journal knows nothing of it.
    fn adopt(&mut self, listed: &Listed) {
        if listed.state == ListedState::Terminated {
            return;
        }
        let listed = listed.clone();
        if listed.state == ListedState::Ending {
            // It takes its slot until it is over, and that is somebody's to see.
            let cause = "the provider ends it, and the journal did not know it".into();
            let action = Action::AdoptToEnd { listed, cause };
            return self.plan.actions.push(action);
        }
        if listed.tags.expires_at > self.input.now {
            let cause = ADOPTED.into();
            return self.plan.actions.push(Action::Adopt { listed, cause });
        }
        let cause = "the journal did not know it, and it has expired".into();
        let id = listed.id.clone();
        self.end(&id, Action::AdoptToEnd { listed, cause });
    }

    fn end_again(&mut self, row: &Arc<MachineRow>, listed: &Listed) {
        // What was begun before may show what was then.
        let stale = self.input.listing.begun_at <= row.since.after(self.input.window);
        if stale || listed.state == ListedState::Ending {
            return;
        }
        let (state, why) = (row.state, &row.cause);
        let cause = format!("the provider shows it, and it was {state} ({why})").into();
        let row = row.clone();
        self.end(&listed.id, Action::EndAgain { row, cause });
    }

    fn absent(&mut self, row: &MachineRow, absences: &mut Absences) {
        let called_at = row.called_at.unwrap_or(row.launched_at);
        let counts = self.counts_after(called_at);
        let proven = absences.machines.missing(row.id(), counts);
        let machine = row.id().clone();
        let cause = "two listings do not show it".into();
        let over = Action::Over { machine, cause };
        if proven && row.state == MachineState::Terminating {
            self.plan.actions.push(over);
        } else if proven && !(self.input.answers)(row.id()) {
            self.end(row.id(), over);
        } else if counts {
            let why = if proven {
                "listings do not show it, and its agent answers"
            } else {
                "the last listing does not show it"
            };
            self.unaccounted(row.id(), why);
        }
    }

    /// What the orders got whose launches never answered.
    fn settle(&mut self, absences: &mut Absences) {
        for (id, order) in &self.input.known.orders {
            if !order.settling {
                continue;
            }
            let mut found = self.found.remove(id).unwrap_or_default();
            found.sort_by_key(|listed| listed.state == ListedState::Terminated);
            let open = usize::try_from(order.row.state.open).unwrap_or(usize::MAX);
            let surplus = found.split_off(found.len().min(open));
            for listed in surplus {
                self.adopt(listed);
            }
            let filled = u32::try_from(found.len()).unwrap_or(u32::MAX);
            if filled > 0 {
                let machines = found.iter().map(|listed| Launched {
                    id: listed.id.clone(),
                    address: listed.address,
                });
                self.plan.actions.push(Action::Bind {
                    order: id.clone(),
                    machines: machines.collect(),
                });
                // In the pass's order: bound first, then over.
                for listed in found {
                    self.is_over(listed);
                }
            }
            let called_at = order.row.called_at.unwrap_or(order.row.created_at);
            let counts = self.counts_after(called_at) && !self.unread.contains(id);
            let left = order.row.state.open.saturating_sub(filled);
            if absences.orders.missing(id, counts) && left > 0 {
                self.plan.actions.push(Action::ProveAbsent {
                    order: id.clone(),
                    slots: left,
                    cause: "two listings show no machine of it".into(),
                });
            }
        }
    }

    /// The listing would show what a call at that time made.
    fn counts_after(&self, called_at: Timestamp) -> bool {
        let Input {
            listing, window, ..
        } = self.input;
        listing.complete && listing.begun_at > called_at.after(*window)
    }

    fn end(&mut self, machine: &MachineId, action: Action) {
        if self.plan.ends < self.input.may_end {
            self.plan.ends += 1;
            self.plan.actions.push(action);
        } else {
            self.plan.held_back += 1;
            self.unaccounted(
                machine,
                "it would be ended, and as many as may be at once were already",
            );
        }
    }

    fn unaccounted(&mut self, machine: &MachineId, why: &'static str) {
        self.plan.unaccounted.push(Unaccounted {
            machine: machine.clone(),
            why: why.into(),
        });
    }
}
