//! The transition function of an order.

use serde::{Deserialize, Serialize};

/// Where an order is, slot by slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrderState {
    /// How far it is.
    pub phase: Phase,
    /// Slots of which nothing is known for certain.
    pub open: u32,
    /// Slots that a machine fills, or filled.
    pub bound: u32,
    /// Slots that no machine will ever fill.
    pub absent: u32,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Written down; the provider was not called.
    Planned,
    /// The provider was called, or may have been: there may be machines.
    Launching,
    /// No slot is open.
    Settled,
}

impl OrderState {
    /// An order of `count` machines that was just written down.
    pub fn planned(count: u32) -> Self {
        Self {
            phase: Phase::Planned,
            open: count,
            bound: 0,
            absent: 0,
        }
    }

    /// How many machines the order asks for.
    pub fn count(self) -> u32 {
        self.open + self.bound + self.absent
    }

    /// No slot is open.
    pub fn is_settled(self) -> bool {
        self.phase == Phase::Settled
    }
}

/// What happens to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderEvent {
    /// The provider is about to be called. Durable before the call.
    Call,
    /// Machines fill slots: from the launch's answer, or found in a listing.
    Bind(u32),
    /// Slots stay empty: the provider refused them, or listings proved it.
    ProveAbsent(u32),
    /// Given up before the provider was ever called.
    Withdraw,
}

/// An event that is not possible in an order's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {:?} with {} open slots can't take the event {event:?}", state.phase, state.open)]
pub struct Refused {
    /// The state, which stays.
    pub state: OrderState,
    /// The event.
    pub event: OrderEvent,
}

/// The state that `event` leads to from `state`.
///
/// # Errors
/// The event is not possible; nothing changes.
pub fn next(state: OrderState, event: OrderEvent) -> Result<OrderState, Refused> {
    use OrderEvent as E;
    use Phase as P;

    let OrderState {
        phase,
        open,
        bound,
        absent,
    } = state;
    let settle = |open, bound, absent| OrderState {
        phase: if open == 0 { P::Settled } else { P::Launching },
        open,
        bound,
        absent,
    };
    Ok(match (phase, event) {
        // A replay calls again.
        (P::Planned | P::Launching, E::Call) => OrderState {
            phase: P::Launching,
            ..state
        },
        (P::Launching, E::Bind(n)) if (1..=open).contains(&n) => {
            settle(open - n, bound + n, absent)
        }
        (P::Launching, E::ProveAbsent(n)) if (1..=open).contains(&n) => {
            settle(open - n, bound, absent + n)
        }
        (P::Planned, E::Withdraw) => settle(0, bound, absent + open),
        _ => return Err(Refused { state, event }),
    })
}
