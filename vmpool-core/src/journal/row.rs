//! The rows: what is known now of an order, a machine, a stage, a step.
//!
//! Rows are values behind `Arc`: the pool and the journal share them, and a
//! change makes a new one.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{Attempt, MachineId, OrderId, PoolName, StageId, StepId, Term, Version};
use crate::link::{KeyHash, Machine};
use crate::machine::{Hold, MachineState};
use crate::order::OrderState;
use crate::pool::RequestHash;
use crate::stage::{StageState, StepHash, Tried};
use crate::step::StepOutcome;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRow {
    /// The order.
    pub id: OrderId,
    /// Its pool.
    pub pool: PoolName,
    /// Its attempt.
    pub attempt: Attempt,
    /// Fingerprint of the template it was rendered from.
    pub spec: Arc<str>,
    /// Its state.
    pub state: OrderState,
    /// The whole rendered request, sealed; what a replay sends.
    pub sealed: Arc<[u8]>,
    /// When it was written down.
    pub created_at: Timestamp,
    /// When the provider was called last, if it was.
    pub called_at: Option<Timestamp>,
    /// When its machines expire.
    pub expires_at: Timestamp,
    /// The row's version.
    pub version: Version,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRow {
    /// What links and executors know of it.
    pub machine: Arc<Machine>,
    /// Its state.
    pub state: MachineState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is in that state; for one that is gone or lost: how it ended.
    pub cause: Cow<'static, str>,
    /// The stage that has it or had it.
    pub stage: Option<StageId>,
    /// Fingerprint of the template it was launched from. `None`: it was found
    /// by its tags, which do not say.
    #[serde(default)]
    pub spec: Option<Arc<str>>,
    /// When it was launched, or first seen.
    pub launched_at: Timestamp,
    /// When the tag sweep may end it.
    pub expires_at: Timestamp,
    /// When the provider was last told to end it.
    pub called_at: Option<Timestamp>,
    /// A person keeps it after its stage's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Arc<Hold>>,
    /// The row's version.
    pub version: Version,
}

impl MachineRow {
    /// The provider's id.
    pub fn id(&self) -> &MachineId {
        &self.machine.id
    }

    /// It was launched from another template than the one of this fingerprint.
    pub fn is_of_another(&self, spec: &str) -> bool {
        self.spec
            .as_deref()
            .is_some_and(|launched| launched != spec)
    }

    /// The same machine with its address learned.
    #[must_use]
    pub fn with_address(&self, address: SocketAddr) -> Self {
        let machine = Machine {
            address: Some(address),
            ..(*self.machine).clone()
        };
        Self {
            machine: Arc::new(machine),
            version: self.version.next(),
            ..self.clone()
        }
    }

    /// The same machine with its key pinned.
    #[must_use]
    pub fn with_key(&self, key: KeyHash) -> Self {
        let machine = Machine {
            key: Some(key),
            ..(*self.machine).clone()
        };
        Self {
            machine: Arc::new(machine),
            version: self.version.next(),
            ..self.clone()
        }
    }
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRow {
    /// The stage.
    pub id: StageId,
    /// Its pool.
    pub pool: PoolName,
    /// Its machine.
    pub machine: MachineId,
    /// The term it was claimed under.
    pub term: Term,
    /// Its state.
    pub state: StageState,
    /// Keyed hash of its request. None: the stage was found on its machine
    /// after its journal was lost; the agent tells retries from other requests.
    pub hash: Option<RequestHash>,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When it ends at the latest.
    pub deadline: Timestamp,
    /// The machines that it had before and that could not be prepared. While it
    /// waits for the next one, `machine` is the last of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// The row's version.
    pub version: Version,
}

impl StageRow {
    /// Its machine is its own: it has not ended, and does not wait for another.
    pub fn has_machine(&self) -> bool {
        !matches!(self.state, StageState::Waiting | StageState::Ended(_))
    }
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// Its stage.
    pub stage: StageId,
    /// The step.
    pub id: StepId,
    /// Keyed hash of what it runs. None: found on its machine, as for stages.
    pub hash: Option<StepHash>,
    /// Its result, once there is one.
    pub outcome: Option<StepOutcome>,
    /// The row's version.
    pub version: Version,
}

/// Any row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// An order.
    Order(Arc<OrderRow>),
    /// A machine.
    Machine(Arc<MachineRow>),
    /// A stage.
    Stage(Arc<StageRow>),
    /// A step.
    Step(Arc<StepRow>),
}

/// Names a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKey {
    /// An order.
    Order(OrderId),
    /// A machine.
    Machine(MachineId),
    /// A stage.
    Stage(StageId),
    /// A step of a stage.
    Step(StageId, StepId),
}

impl Row {
    /// The row's name.
    pub fn key(&self) -> RowKey {
        match self {
            Self::Order(row) => RowKey::Order(row.id.clone()),
            Self::Machine(row) => RowKey::Machine(row.id().clone()),
            Self::Stage(row) => RowKey::Stage(row.id.clone()),
            Self::Step(row) => RowKey::Step(row.stage.clone(), row.id.clone()),
        }
    }

    /// Whether both have one key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Order(row), Self::Order(other)) => row.id == other.id,
            (Self::Machine(row), Self::Machine(other)) => row.id() == other.id(),
            (Self::Stage(row), Self::Stage(other)) => row.id == other.id,
            (Self::Step(row), Self::Step(other)) => row.stage == other.stage && row.id == other.id,
            _ => false,
        }
    }

    /// The row's version.
    pub fn version(&self) -> Version {
        match self {
            Self::Order(row) => row.version,
            Self::Machine(row) => row.version,
            Self::Stage(row) => row.version,
            Self::Step(row) => row.version,
        }
    }

    /// Slots of the pool's limit that it occupies (P7).
    pub fn slots(&self) -> u32 {
        match self {
            Self::Order(row) => row.state.open,
            Self::Machine(row) => u32::from(row.state.occupies_slot()),
            Self::Stage(_) | Self::Step(_) => 0,
        }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order {id}"),
            Self::Machine(id) => write!(f, "machine {id}"),
            Self::Stage(id) => write!(f, "stage {id}"),
            Self::Step(stage, id) => write!(f, "step {id} of stage {stage}"),
        }
    }
}

impl From<Arc<OrderRow>> for Row {
    fn from(row: Arc<OrderRow>) -> Self {
        Self::Order(row)
    }
}

impl From<Arc<MachineRow>> for Row {
    fn from(row: Arc<MachineRow>) -> Self {
        Self::Machine(row)
    }
}

impl From<Arc<StageRow>> for Row {
    fn from(row: Arc<StageRow>) -> Self {
        Self::Stage(row)
    }
}

impl From<Arc<StepRow>> for Row {
    fn from(row: Arc<StepRow>) -> Self {
        Self::Step(row)
    }
}
