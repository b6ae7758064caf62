//! Listings: what the provider says that it has.
//!
//! Absence counts only from complete listings begun after a row's last call
//! plus the provider's consistency window, twice; the word `terminated` counts
//! at once (P1).

use std::sync::Arc;
use std::time::Duration;

use super::launch::chain;
use super::warm::Shared;
use crate::clock::Timestamp;
use crate::id::{MachineId, OrderId};
use crate::journal::Change;
use crate::machine::MachineEvent;
use crate::order::OrderEvent;
use crate::provider::{ErrorKind, Launched, ListedState, Listing, ProviderError};
use crate::stage::StageEnd;

/// Between two listings for the same question.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between listings.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A call of the provider that has not answered after this long counts as failed.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);
/// The same, where the answer is only good to know.
const DIAGNOSIS_PATIENCE: Duration = Duration::from_secs(10);

/// Counts the listings that prove something absent.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Absence {
    seen: u8,
}

impl Absence {
    /// Takes a listing in which the thing is not; true once it is proven absent.
    pub(super) fn missing(
        &mut self,
        listing: &Listing,
        called_at: Timestamp,
        window: Duration,
    ) -> bool {
        if listing.complete && listing.begun_at > called_at.after(window) {
            self.seen = self.seen.saturating_add(1);
        }
        self.seen >= 2
    }

    /// It is there after all.
    pub(super) fn present(&mut self) {
        self.seen = 0;
    }
}

/// A pause that doubles up to its longest.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
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
    /// Asks the provider what it has, and takes in what that says of our machines.
    pub(super) async fn look(&self) -> Option<Listing> {
        let (owner, deployment) = {
            let config = &self.config;
            (config.owner.clone(), config.deployment.clone())
        };
        let listed = self.parts.provider.list(&owner);
        let mut listing = match in_time("list the machines", listed).await {
            Ok(listing) => listing,
            Err(error) => {
                self.trouble(None, chain(&error));
                return None;
            }
        };
        listing.machines.retain(|machine| {
            machine.tags.deployment == deployment && machine.tags.pool == self.name
        });
        for listed in &listing.machines {
            if listed.state == ListedState::Terminated {
                self.provider_says_gone(&listed.id, "the provider says that it is terminated")
                    .await;
            } else if let Some(address) = listed.address {
                self.learn_address(&listed.id, address).await;
            }
        }
        Some(listing)
    }

    /// What the provider can tell of a machine that failed.
    pub(super) async fn diagnose(&self, id: &MachineId) -> Option<String> {
        let said = self.parts.provider.diagnose(id);
        tokio::time::timeout(DIAGNOSIS_PATIENCE, said).await.ok()?
    }

    pub(super) async fn provider_says_gone(&self, id: &MachineId, cause: &'static str) {
        let known = self.book.lock().machine(id).map(|entry| entry.row.state);
        let Some(state) = known else { return };
        let cause = if state == crate::machine::MachineState::Terminating {
            cause.to_owned()
        } else {
            self.queue.take(|ready| ready.row.id() == id);
            // Gone without our asking: say all that is known of it.
            match self.diagnose(id).await {
                Some(said) => format!("{cause}; {said}"),
                None => cause.to_owned(),
            }
        };
        let lost = state != crate::machine::MachineState::Terminating;
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

    async fn learn_address(&self, id: &MachineId, address: std::net::SocketAddr) {
        let row = self.book.lock().machine(id).map(|entry| entry.row.clone());
        let Some(row) = row.filter(|row| row.machine.address.is_none()) else {
            return;
        };
        let after = Arc::new(row.with_address(address));
        let change = Change::new(after.clone(), after.state.as_str(), "its address is known");
        // Not written: the next listing says it again.
        if self.commit(vec![change]).await.is_ok() {
            self.book.lock().put_machine(after);
        }
    }

    /// Finds out by listings what became of an order whose launch never answered.
    pub(super) async fn settle(self: &Arc<Self>, id: &OrderId) {
        let mut absence = Absence::default();
        let mut pause = Pause::new();
        loop {
            let Some(order) = self.book.lock().order(id).cloned() else {
                return;
            };
            if let Some(listing) = self.look().await {
                let found: Vec<Launched> = listing
                    .machines
                    .iter()
                    .filter(|listed| listed.tags.order == *id)
                    .filter(|listed| listed.state != ListedState::Terminated)
                    .map(|listed| Launched {
                        id: listed.id.clone(),
                        address: listed.address,
                    })
                    .collect();
                self.bind(id, &found).await;
                let called_at = order.called_at.unwrap_or(order.created_at);
                if absence.missing(&listing, called_at, self.capabilities.consistency_window) {
                    let Some(order) = self.book.lock().order(id).cloned() else {
                        return;
                    };
                    let event = OrderEvent::ProveAbsent(order.state.open);
                    let cause = "two listings show no machine of it".to_owned();
                    self.change_order(id, event, cause).await;
                    return;
                }
            }
            pause.wait().await;
        }
    }
}
