//! What only a machine has, saved before the machine is ended.

use async_trait::async_trait;

use crate::pool::Lease;

/// Empties machines on their way out: the ends and the logs of their steps.
///
/// A stage's machine is drained durably first, which is what a release waits
/// for; then the pool opens its connection, where it is not open, and calls
/// this; then it tells the provider to end it.
#[async_trait]
pub trait Salvage: Send + Sync + 'static {
    /// Takes what is left on the stage's machine, and ends its processes.
    /// The pool waits no longer than [`Deadlines::draining`](super::Deadlines):
    /// after that the machine is ended as it is. Called again after a restart.
    ///
    /// # Cancel safety
    /// A dropped call has saved what it has saved; a further one goes on.
    async fn salvage(&self, lease: &Lease);
}
