//! A pool at one moment, for people and programs.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::{MachineId, PoolName, StageId, Term};
use crate::journal::Cordon;
use crate::machine::{Hold, MachineState};
use crate::pool::Evidence;
use crate::reconcile::Unaccounted;

/// A pool at one moment.
#[derive(Debug, Clone)]
pub struct PoolStatus {
    /// The pool.
    pub name: PoolName,
    /// The term it rules under.
    pub term: Term,
    /// Machines to keep ready.
    pub warm: u32,
    /// Machines at most.
    pub limit: u32,
    /// Machines ready now.
    pub ready: u32,
    /// Machines on their way up.
    pub booting: u32,
    /// Slots of orders that no machine fills yet.
    pub ordered: u32,
    /// Machines that stages have.
    pub claimed: u32,
    /// Machines that people keep after their stages' ends.
    pub held: u32,
    /// Machines on their way out.
    pub ending: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Why the pool takes no requests, if it takes none.
    pub stopped: Option<String>,
    /// A person has said that it takes no new stages for now.
    pub cordon: Option<Arc<Cordon>>,
    /// Why nothing is ordered now, and until when.
    pub held_off: Option<String>,
    /// Machines that are not accounted for, as of `checked_at`; must be none (P1).
    pub unaccounted: Vec<Unaccounted>,
    /// When it was last held against what its provider shows, if it was.
    pub checked_at: Option<Timestamp>,
    /// The requests that wait, the longest waiting first.
    pub waiters: Vec<Waiter>,
    /// Its machines.
    pub machines: Vec<MachineStatus>,
    /// What went wrong lately, the latest last.
    pub evidence: Vec<Evidence>,
}

/// A machine at one moment.
#[derive(Debug, Clone)]
pub struct MachineStatus {
    /// The machine.
    pub id: MachineId,
    /// Its state.
    pub state: MachineState,
    /// Since when.
    pub since: Timestamp,
    /// The stage that has it.
    pub stage: Option<StageId>,
    /// Why it is in that state.
    pub cause: Cow<'static, str>,
    /// A person keeps it, or will after its stage's end.
    pub hold: Option<Arc<Hold>>,
}

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The stage.
    pub stage: StageId,
    /// Since when.
    pub since: Timestamp,
}
