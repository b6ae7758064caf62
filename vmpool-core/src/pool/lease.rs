//! One stage's exclusive right to one machine.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::id::{MachineId, StageId, Term};
use crate::link::Machine;

/// The right itself, as a value. It is inert: dropping it, or all copies of
/// it, does nothing. The machine is given up by [`Pool::release`], which a
/// [`Stage`] calls for whoever holds one.
///
/// [`Pool::release`]: crate::pool::Pool::release
/// [`Stage`]: crate::stage::Stage
#[derive(Debug, Clone)]
pub struct Lease {
    pub(crate) stage: StageId,
    pub(crate) machine: Arc<Machine>,
    pub(crate) term: Term,
    pub(crate) claimed_at: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) origin: Origin,
}

/// Where a lease's machine came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was ready when the request came.
    Warm,
    /// The request waited this long for it.
    Waited(Duration),
    /// The stage had it already.
    Attached,
}

impl Lease {
    /// A lease as a [`Pool`] of one's own gives it.
    ///
    /// [`Pool`]: crate::pool::Pool
    pub fn new(
        stage: StageId,
        machine: Arc<Machine>,
        term: Term,
        claimed_at: Timestamp,
        deadline: Timestamp,
        origin: Origin,
    ) -> Self {
        Self {
            stage,
            machine,
            term,
            claimed_at,
            deadline,
            origin,
        }
    }

    /// The stage that has the machine.
    pub fn stage(&self) -> &StageId {
        &self.stage
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine's id.
    pub fn machine_id(&self) -> &MachineId {
        &self.machine.id
    }

    /// The term under which the agent obeys.
    pub fn term(&self) -> Term {
        self.term
    }

    /// When the claim was made durable.
    pub fn claimed_at(&self) -> Timestamp {
        self.claimed_at
    }

    /// When the stage ends at the latest.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// How the request came by the machine.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}
