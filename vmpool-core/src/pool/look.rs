//! What the provider says: which machines it has, what it can tell of one that
//! failed, and that one is over.

use std::time::Duration;

use super::launch::chain;
use super::shared::Shared;
use crate::account::{CallKind, Mishap, Priority};
use crate::id::MachineId;
use crate::machine::{MachineEvent, MachineState};
use crate::provider::{ErrorKind, Listed, Listing, ProviderError};
use crate::stage::StageEnd;

/// Between two listings for the same question.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between listings.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A call of the provider that has not answered after this long counts as failed.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);
/// The same, where the answer is only good to know.
const DIAGNOSIS_PATIENCE: Duration = Duration::from_secs(10);

/// A pause that doubles up to its longest.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new() -> Self {
        Self::beginning_with(FIRST_PAUSE)
    }

    pub(super) fn beginning_with(first: Duration) -> Self {
        Self(first)
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// The provider's answer, if it comes within its time: a call that hangs must
/// hold nothing else up.
pub(super) async fn in_time<T>(
    attempted: &str,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    match tokio::time::timeout(ANSWER_PATIENCE, call).await {
        Ok(answer) => answer,
        Err(late) => Err(ProviderError::new(ErrorKind::Transient, attempted).because(late)),
    }
}

impl Shared {
    /// Asks the provider what it has, of this deployment and pool.
    pub(super) async fn list(&self, priority: Priority) -> Option<Listing> {
        let (owner, deployment) = {
            let config = &self.config;
            (config.owner.clone(), config.deployment.clone())
        };
        let account = &self.parts.account;
        let listed = account.list(&self.parts.provider, &owner, priority).await;
        let listed = match listed {
            Ok(listing) => listing,
            Err(error) => {
                self.trouble(None, chain(&error));
                return None;
            }
        };
        // Other pools read the same listing.
        let ours = |machine: &&Listed| {
            machine.tags.deployment == deployment && machine.tags.pool == self.name
        };
        let listing = Listing {
            begun_at: listed.begun_at,
            complete: listed.complete,
            machines: listed.machines.iter().filter(ours).cloned().collect(),
        };
        Some(listing)
    }

    /// What the provider can tell of a machine that failed.
    pub(super) async fn diagnose(&self, id: &MachineId) -> Option<String> {
        let said = self.parts.provider.diagnose(id);
        let account = &self.parts.account;
        let said = account.call(CallKind::Other, Priority::Refill, said);
        tokio::time::timeout(DIAGNOSIS_PATIENCE, said).await.ok()?
    }

    pub(super) async fn provider_says_gone(&self, id: &MachineId, cause: impl Into<String>) {
        let cause = cause.into();
        let known = self.book.lock().machine(id).map(|entry| entry.row.state);
        let Some(state) = known else { return };
        let lost = state != MachineState::Terminating;
        let cause = if lost {
            self.queue.take(|ready| ready.row.id() == id);
            // Gone without our asking: say all that is known of it.
            let cause = match self.diagnose(id).await {
                Some(said) => format!("{cause}; {said}"),
                None => cause,
            };
            self.lost_by_notice(id, cause).await
        } else {
            cause
        };
        if state == MachineState::Booting {
            self.failed(Mishap::Boot, &cause);
        }
        let end = StageEnd::MachineLost(cause.clone().into());
        let gone = self
            .advance(id, MachineEvent::ProviderSaysGone, cause.clone(), Some(end))
            .await;
        match gone {
            Ok(_) if lost => self.trouble(Some(id), format!("machine {id} was lost: {cause}")),
            Ok(_) | Err(super::advance::AdvanceError::Unknown) => {}
            Err(error) => self.trouble(Some(id), format!("note the end of {id}: {error}")),
        }
    }
}
