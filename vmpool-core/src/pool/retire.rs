//! The end of machines: told to end until the provider says the word.

use std::sync::Arc;

use super::advance::AdvanceError;
use super::book::Drained;
use super::keeper::JOURNAL_PAUSE;
use super::launch::chain;
use super::look::{Absence, Pause, in_time};
use super::warm::Shared;
use crate::id::MachineId;
use crate::machine::MachineEvent;
use crate::map::Map;
use crate::provider::ListedState;

/// Most machines named in one call.
const BATCH: usize = 100;

/// What the retirer remembers of a machine that it ends.
#[derive(Debug, Default)]
struct Ending {
    absence: Absence,
    alarmed: bool,
}

impl Shared {
    /// The retirer's loop: one task ends all machines of the pool.
    pub(super) async fn retire(self: Arc<Self>) {
        let mut endings: Map<MachineId, Ending> = Map::default();
        loop {
            self.retire.notified().await;
            let mut pause = Pause::new();
            loop {
                self.begin_endings().await;
                let ids = self.book.lock().terminating();
                endings.retain(|id, _| ids.contains(id));
                if ids.is_empty() {
                    break;
                }
                self.call_terminate(&ids, &mut endings).await;
                if self.book.lock().terminating().is_empty() {
                    continue;
                }
                self.confirm(&mut endings).await;
                self.alarm(&mut endings);
                if self.book.lock().terminating().is_empty() {
                    continue;
                }
                // A machine that joins meanwhile need not wait for the others.
                tokio::select! {
                    biased;
                    () = pause.wait() => {}
                    () = self.retire.notified() => pause = Pause::new(),
                }
            }
        }
    }

    /// Drained machines become terminating, durably, before the provider is
    /// called. What those hold that a stage had is saved before that.
    async fn begin_endings(self: &Arc<Self>) {
        let salvage = self.parts.salvage.as_ref();
        let drained = self.book.lock().drained(salvage.is_some());
        for next in drained {
            let id = match (next, salvage) {
                (Drained::Salvage(id), Some(by)) => {
                    self.salvage_soon(id, by.clone());
                    continue;
                }
                (Drained::Salvage(id) | Drained::End(id), _) => id,
            };
            let begun = self
                .advance(&id, MachineEvent::Terminate, "it is drained", None)
                .await;
            if let Err(AdvanceError::Commit(error)) = begun {
                self.trouble(Some(&id), format!("write down the end of {id}: {error}"));
                self.retire.notify_one();
                return tokio::time::sleep(JOURNAL_PAUSE).await;
            }
        }
    }

    async fn call_terminate(&self, ids: &[MachineId], endings: &mut Map<MachineId, Ending>) {
        for batch in ids.chunks(BATCH) {
            let call = self.parts.provider.terminate(batch);
            let answer = in_time("terminate machines", call).await;
            for id in batch {
                endings.entry(id.clone()).or_default();
            }
            match answer {
                Ok(answer) => {
                    for id in answer.gone {
                        self.provider_says_gone(&id, "the provider terminated it")
                            .await;
                    }
                }
                Err(error) => self.trouble(None, chain(&error)),
            }
        }
    }

    /// Those without a word yet: does a listing show them?
    async fn confirm(&self, endings: &mut Map<MachineId, Ending>) {
        let Some(listing) = self.look().await else {
            return;
        };
        let window = self.capabilities.consistency_window;
        for (id, ending) in endings {
            let row = self.book.lock().machine(id).map(|entry| entry.row.clone());
            let Some(row) = row else { continue };
            // The first call counts: the ones that repeat it change nothing, and
            // come too often for a listing to be later than the last of them.
            let called_at = row.called_at.unwrap_or(row.since);
            let listed = listing.machines.iter().find(|listed| listed.id == *id);
            match listed {
                // The look took it in already.
                Some(listed) if listed.state == ListedState::Terminated => {}
                Some(_) => ending.absence.present(),
                None if ending.absence.missing(&listing, called_at, window) => {
                    self.provider_says_gone(id, "two listings do not show it")
                        .await;
                }
                None => {}
            }
        }
    }

    fn alarm(&self, endings: &mut Map<MachineId, Ending>) {
        let patience = self.config.deadlines.terminating;
        let now = self.now();
        for (id, ending) in endings {
            let since = self.book.lock().machine(id).map(|entry| entry.row.since);
            let Some(since) = since else { continue };
            if !ending.alarmed && now.since(since) > patience {
                ending.alarmed = true;
                tracing::error!(pool = %self.name, machine = %id, "the provider does not end it");
                self.trouble(Some(id), format!("{id} is not gone after {patience:?}"));
            }
        }
    }
}
