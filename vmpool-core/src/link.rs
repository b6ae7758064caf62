//! The pool's line to the agents: enrolment, one kept connection a machine,
//! health, renewal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::agent::Bootstrap;
use crate::clock::Timestamp;
use crate::facts::Facts;
use crate::id::{Attempt, MachineId, OrderId, PoolName, StageId, StepId, Term};
use crate::notice::Notice;
use crate::pool::RequestHash;
use crate::secret::SecretBytes;
use crate::step::StepStatus;

/// The deployment's side of its agents. Implemented by `vmpool-agent`, and by
/// the testkit for simulated ones.
#[async_trait]
pub trait AgentLink: Send + Sync + 'static {
    /// What a machine of this order and attempt is born with. The same answer
    /// every time, also after a restart.
    fn bootstrap(&self, order: &OrderId, attempt: Attempt) -> Bootstrap;

    /// Seals a rendered request for the journal (AEAD under a key derived from
    /// the enrolment key), bound to its order and attempt.
    fn seal(&self, order: &OrderId, attempt: Attempt, request: &SecretBytes) -> Arc<[u8]>;

    /// Opens what [`AgentLink::seal`] made.
    ///
    /// # Errors
    /// [`LinkError::Unsealable`]: another deployment's key, or altered bytes.
    fn unseal(
        &self,
        order: &OrderId,
        attempt: Attempt,
        sealed: &[u8],
    ) -> Result<SecretBytes, LinkError>;

    /// A keyed hash of what was asked for (HMAC under a key derived from the
    /// enrolment key): the same after a restart, no use to anyone without the key.
    fn keyed_hash(&self, content: &[u8]) -> RequestHash;

    /// Connects to the machine's agent: enrols it the first time, reconnects
    /// after that, keeps the connection with health pings, and puts `term` to it.
    /// Dials with capped back-off for as long as the future is polled: the
    /// caller sets the deadline.
    ///
    /// `pins` is told the agent's key before the agent gets its certificate.
    ///
    /// # Errors
    /// Only what further dialling can't mend.
    ///
    /// # Cancel safety
    /// Safe: a dropped call leaves no connection behind; a later one goes on
    /// where the agent is.
    async fn open(
        &self,
        machine: &Machine,
        term: Term,
        pins: &dyn PinKey,
    ) -> Result<AgentReport, LinkError>;

    /// What last kept [`AgentLink::open`] from connecting, for the reason of
    /// whoever gives up waiting for it (P3).
    fn trouble(&self, id: &MachineId) -> Option<String> {
        let _ = id;
        None
    }

    /// The health of a machine's connection. [`Health::Unconnected`] until it is open.
    fn health(&self, id: &MachineId) -> watch::Receiver<Health>;

    /// The gravest of what the machine's cloud has said of its end, as its agent
    /// tells it over an open connection. A link whose agents tell nothing never
    /// says anything.
    fn notices(&self, id: &MachineId) -> watch::Receiver<Option<Notice>> {
        let _ = id;
        watch::channel(None).1
    }

    /// How the machine fares, looked at now. Takes a second or two; nothing is
    /// looked at while nobody asks. `None`: it is not reached, or can't tell.
    ///
    /// # Cancel safety
    /// Safe: a dropped call leaves nothing behind.
    async fn facts(&self, id: &MachineId) -> Option<Facts> {
        let _ = id;
        None
    }

    /// Tells the agent that it is still wanted: puts off its idle clock.
    ///
    /// # Errors
    /// The agent was not reached or refused.
    async fn renew(&self, id: &MachineId, term: Term) -> Result<(), LinkError>;

    /// Tells the agent how long after its stage's end the machine is kept: so
    /// much later it cleans up and ends itself. Zero: not at all. Told again
    /// with each renewal.
    ///
    /// # Errors
    /// The agent was not reached or refused.
    async fn hold(
        &self,
        id: &MachineId,
        term: Term,
        stage: &StageId,
        lasts: Duration,
    ) -> Result<(), LinkError> {
        let _ = (id, term, stage, lasts);
        Ok(())
    }

    /// Closes the connection and forgets the machine.
    fn close(&self, id: &MachineId);
}

/// Where an agent's key is written down before it gets its certificate.
#[async_trait]
pub trait PinKey: Send + Sync {
    /// Pins `key` to `machine`, durably. The same key again is no error.
    ///
    /// # Errors
    /// Another key is pinned already, or it could not be written down.
    async fn pin(&self, machine: &MachineId, key: KeyHash) -> Result<(), PinError>;
}

/// Why a key was not pinned.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The machine enrolled with another key: somebody stands in its place.
    #[error("machine {machine} has another key already")]
    OtherKey {
        /// The machine.
        machine: MachineId,
    },
    /// The journal could not take it.
    #[error("write down the key of machine {machine}: {reason}")]
    NotWritten {
        /// The machine.
        machine: MachineId,
        /// What the journal said.
        reason: String,
    },
}

/// SHA-256 of an agent's public key (SubjectPublicKeyInfo, DER).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

/// A machine as links and executors know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The provider's id.
    pub id: MachineId,
    /// Its pool.
    pub pool: PoolName,
    /// The order it came from.
    pub order: OrderId,
    /// The order's attempt.
    pub attempt: Attempt,
    /// Where its agent listens, if it is known.
    pub address: Option<SocketAddr>,
    /// The key it enrolled with.
    pub key: Option<KeyHash>,
}

/// What an agent says of itself when a connection opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentReport {
    /// The highest term it has accepted.
    pub term: Option<Term>,
    /// The one stage it has accepted, ever.
    pub stage: Option<StageId>,
    /// Its setup is done: steps may run.
    pub prepared: bool,
    /// It is over; nothing of it runs any more.
    pub ended: bool,
    /// That stage's steps.
    pub steps: Vec<StepReport>,
    /// The agent's version.
    pub version: String,
    /// What the machine's start went to, by the ends; none where nothing told it.
    pub boot: Vec<BootPhase>,
}

/// A part of a machine's start that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootPhase {
    /// What went on: `system`, `agent`, `docker`.
    pub name: String,
    /// How long before the report it began.
    pub began_ago: Duration,
    /// How long it took.
    pub took: Duration,
}

/// A step as its agent reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The step.
    pub id: StepId,
    /// Its end, if it has ended.
    pub status: Option<StepStatus>,
    /// Bytes of its log so far.
    pub log_end: u64,
}

/// How a machine's connection does (P6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// No connection is open.
    Unconnected,
    /// The connection is open and the agent answered lately.
    Answering {
        /// Its last answer.
        at: Timestamp,
    },
    /// The connection broke, or the agent stopped answering on it.
    Lost {
        /// Why, for a person.
        reason: String,
    },
}

impl Health {
    /// The agent is there.
    pub fn is_answering(&self) -> bool {
        matches!(self, Self::Answering { .. })
    }
}

/// Why an agent could not be reached, or what it refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The machine has no address yet.
    #[error("machine {machine} has no address")]
    NoAddress {
        /// The machine.
        machine: MachineId,
    },
    /// Not reached.
    #[error("reach the agent of machine {machine}: {reason}")]
    Unreachable {
        /// The machine.
        machine: MachineId,
        /// What went wrong, source chain included.
        reason: String,
    },
    /// Reached, but it could not prove that it is the machine we ordered.
    #[error("enrol machine {machine}: {reason}")]
    Enrolment {
        /// The machine.
        machine: MachineId,
        /// What was wrong.
        reason: String,
    },
    /// The agent has accepted a higher term: another runner rules it.
    #[error("machine {machine} obeys term {theirs}, ours is {ours}")]
    Fenced {
        /// The machine.
        machine: MachineId,
        /// Our term.
        ours: Term,
        /// The agent's.
        theirs: Term,
    },
    /// A sealed request that this deployment's key does not open.
    #[error("open the sealed request of order {order}")]
    Unsealable {
        /// The order.
        order: OrderId,
    },
}
