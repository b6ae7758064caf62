//! The pool: keeps machines warm, hands each to one stage, and ends it after.

mod acquire;
mod actions;
mod adopt;
mod advance;
mod book;
pub(crate) mod boot;
mod claim;
mod config;
mod cordon;
mod endings;
mod events;
mod gauges;
mod hold;
mod holding;
mod keeper;
mod labels;
mod launch;
mod lease;
mod leaves;
mod look;
mod metrics;
mod next_machine;
mod note;
pub(crate) mod notice;
mod parts;
mod pin;
mod progress;
mod queue;
mod reconcile;
mod refill;
mod request;
mod retire;
mod salvage;
mod shared;
mod slots;
mod status;
mod tend;
mod turn;
mod waits;
mod warm;

/// What [`queue`] is built on. The interleaving check builds the same file on
/// a scheduler that tries the orders in which threads can run.
mod sync {
    pub(super) use parking_lot::Mutex;
    pub(super) use tokio::sync::oneshot;
}

use async_trait::async_trait;

pub use config::{Deadlines, PoolConfig};
pub use events::{Heard, PoolEvent, PoolEvents};
pub(crate) use gauges::measure_none;
pub use holding::HoldError;
pub use lease::{Lease, Origin};
pub(crate) use next_machine::Onward;
pub use parts::{Leftovers, PoolParts, Rule, StartError};
pub use progress::{Coming, Progress};
pub use queue::{Claim, Claiming, Closed, Place, ReadyQueue, Refusal, Wait};
pub use request::{
    AcquireError, AcquireRequest, AttachError, Evidence, NoteError, ReleaseError, RequestHash,
    TryAcquireError,
};
pub use salvage::Salvage;
pub use status::{MachineStatus, PoolStatus, Waiter};
pub use warm::WarmPool;

use crate::id::{StageId, Term};
use crate::stage::StageEvent;

/// Fresh machines, one a stage. All calls are idempotent by stage id (P9).
#[async_trait]
pub trait Pool: Send + Sync + 'static {
    /// A machine for the stage. Always ends, by the request's deadline at the
    /// latest: with a lease, or with a reason (P3). A stage that has a machine
    /// gets the same again.
    ///
    /// # Errors
    /// No machine; the error says what was tried.
    ///
    /// # Cancel safety
    /// A request dropped while it waits loses its place and nothing else. One
    /// dropped while its claim is written leaves a claim that a retry finds, or
    /// that the prepare deadline ends.
    async fn acquire(&self, request: AcquireRequest) -> Result<Lease, AcquireError>;

    /// A machine that is ready now, or none: never queues, waits for durability only.
    ///
    /// # Errors
    /// None is ready, or as for [`Pool::acquire`].
    ///
    /// # Cancel safety
    /// As for [`Pool::acquire`].
    async fn try_acquire(&self, request: AcquireRequest) -> Result<Lease, TryAcquireError>;

    /// The machine that the stage has. Never launches.
    ///
    /// # Errors
    /// It has none, or its stage is over, and why.
    async fn attach(&self, stage: &StageId) -> Result<Lease, AttachError>;

    /// Gives the stage's machine up. Returns once that is durable; the machine's
    /// end follows. A stage that was released before, or never was, is no error.
    ///
    /// # Errors
    /// The journal could not take it; call again.
    async fn release(&self, stage: &StageId) -> Result<(), ReleaseError>;

    /// As [`Pool::release`], by the pool's own worker, for callers that can't wait (`Drop`).
    fn release_soon(&self, stage: &StageId);

    /// Writes down what happened to a stage.
    ///
    /// # Errors
    /// The event is not possible in the stage's state, or the journal could not take it.
    async fn note(&self, stage: &StageId, event: StageEvent) -> Result<(), NoteError>;

    /// A keyed hash of what a caller asked for, for [`AcquireRequest::hash`] and steps.
    fn keyed_hash(&self, content: &[u8]) -> RequestHash;

    /// The pool as it is now.
    fn status(&self) -> PoolStatus;

    /// The term under which this pool rules its machines.
    fn term(&self) -> Term;
}
