//! The end of machines: told to end until the provider says the word.

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::advance::AdvanceError;
use super::book::Drained;
use super::endings::Endings;
use super::keeper::JOURNAL_PAUSE;
use super::launch::chain;
use super::look::in_time;
use super::shared::Shared;
use crate::account::{CallKind, Priority};
use crate::id::MachineId;
use crate::machine::MachineEvent;
use crate::map::Set;

/// Most machines named in one call.
const BATCH: usize = 100;

impl Shared {
    /// The retirer's loop: one task ends all machines of the pool.
    pub(super) async fn retire(self: Arc<Self>) {
        let mut alarmed = Set::default();
        loop {
            self.retire.notified().await;
            let mut endings = Endings::begin(Instant::now());
            loop {
                self.begin_endings().await;
                let ids = self.book.lock().terminating();
                if ids.is_empty() {
                    break;
                }
                let is_due = endings.is_due(Instant::now());
                let tell = endings.untold(&ids, Instant::now());
                for batch in tell.chunks(BATCH) {
                    if self.call_terminate(batch).await {
                        endings.told(batch, Instant::now());
                    }
                }
                if is_due && !self.book.lock().terminating().is_empty() {
                    // Those without a word yet: does a listing show them?
                    self.look().await;
                    self.alarm(&mut alarmed);
                    endings.looked(Instant::now());
                }
                if self.book.lock().terminating().is_empty() {
                    continue;
                }
                tokio::select! {
                    biased;
                    () = sleep_until(endings.next()) => {}
                    () = self.retire.notified() => {}
                }
            }
        }
    }

    /// Drained machines become terminating, durably, before the provider is
    /// called. What those hold that a stage had is saved before that.
    async fn begin_endings(self: &Arc<Self>) {
        let salvage = self.parts.salvage.as_ref();
        let drained = self.book.lock().drained(salvage.is_some());
        let mut empty = Vec::new();
        // All of them are begun before anything is written: what the book was
        // told is under way must not be left out where a write fails.
        for next in drained {
            match (next, salvage) {
                (Drained::Salvage(id), Some(by)) => self.salvage_soon(id, by.clone()),
                (Drained::Salvage(id) | Drained::End(id), _) => empty.push(id),
            }
        }
        for id in empty {
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

    /// True: the provider took the call. Calls again and again change nothing,
    /// but are not made while another runner may rule the pool.
    async fn call_terminate(&self, ids: &[MachineId]) -> bool {
        let account = &self.parts.account;
        let pass = account.pass(CallKind::Terminate, Priority::Terminate);
        let pass = pass.await;
        self.allowed().await;
        let call = self.parts.provider.terminate(ids);
        match pass.make(in_time("terminate machines", call)).await {
            Ok(answer) => {
                for id in answer.gone {
                    self.provider_says_gone(&id, "the provider terminated it")
                        .await;
                }
                true
            }
            Err(error) => {
                self.trouble(None, chain(&error));
                false
            }
        }
    }

    /// Tells once of each machine that does not end.
    fn alarm(&self, alarmed: &mut Set<MachineId>) {
        let patience = self.config.deadlines.terminating;
        let late = self.book.lock().terminating_since(self.now(), patience);
        alarmed.retain(|id| late.contains(id));
        for id in late {
            if alarmed.insert(id.clone()) {
                tracing::error!(pool = %self.name, machine = %id, "the provider does not end it");
                self.trouble(Some(&id), format!("{id} is not gone after {patience:?}"));
            }
        }
    }
}
