//! What only a machine has, saved before the machine is ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::keeper::JOURNAL_PAUSE;
use super::shared::Shared;
use crate::id::MachineId;
use crate::journal::{MachineRow, StageRow};
use crate::pool::{Lease, Origin};
use crate::stage::{StageEnd, StageState};

/// A machine whose connection is not open, as after a restart, is dialled this long.
const RECONNECT: Duration = Duration::from_secs(30);
/// One that counts as lost may still be reached; it gets this long.
const LAST_CALL: Duration = Duration::from_secs(5);

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

impl Shared {
    /// Has what is on a draining machine saved, by a task of its own: a slow
    /// machine holds no other up. Its slot stays occupied meanwhile (P7).
    pub(super) fn salvage_soon(self: &Arc<Self>, id: MachineId, by: Arc<dyn Salvage>) {
        let over = {
            let mut book = self.book.lock();
            let Some(entry) = book.machine(&id) else {
                return book.salvaged(&id);
            };
            entry.over.clone()
        };
        let salvaged = Salvaged {
            shared: self.clone(),
            id,
        };
        self.spawn("salvage", async move {
            let shared = &salvaged.shared;
            let patience = shared.config.deadlines.draining;
            let saved = tokio::time::timeout(patience, shared.salvage(&salvaged.id, &*by));
            tokio::select! {
                biased;
                // There is nothing left to save it from.
                () = over.cancelled() => {}
                saved = saved => if saved.is_err() {
                    let id = &salvaged.id;
                    let text = format!("what is on {id} was not saved within {patience:?}");
                    shared.trouble(Some(id), text);
                }
            }
        });
    }

    async fn salvage(&self, id: &MachineId, by: &dyn Salvage) {
        let Some((machine, stage)) = self.row_and_stage(id).await else {
            return;
        };
        if !self.is_reached(&machine, &stage).await {
            return;
        }
        let lease = Lease {
            stage: stage.id.clone(),
            machine: machine.machine.clone(),
            term: self.term,
            claimed_at: stage.claimed_at,
            deadline: stage.deadline,
            origin: Origin::Attached,
        };
        by.salvage(&lease).await;
    }

    /// The machine and the stage that it served, which the book forgot at its end.
    async fn row_and_stage(&self, id: &MachineId) -> Option<(Arc<MachineRow>, Arc<StageRow>)> {
        loop {
            let row = self.book.lock().machine(id)?.row.clone();
            match self.parts.journal.stage(row.stage.as_ref()?).await {
                Ok(record) => return Some((row, record?.stage)),
                Err(error) => self.trouble(Some(id), error.to_string()),
            }
            tokio::time::sleep(JOURNAL_PAUSE).await;
        }
    }

    /// Its connection is open, or was opened now.
    async fn is_reached(&self, row: &MachineRow, stage: &StageRow) -> bool {
        let id = row.id();
        if self.parts.link.health(id).borrow().is_answering() {
            return true;
        }
        let patience = match &stage.state {
            StageState::Ended(StageEnd::MachineLost(_)) => LAST_CALL,
            _ => RECONNECT,
        };
        let opened = self.parts.link.open(&row.machine, self.term, self);
        let why = match tokio::time::timeout(patience, opened).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("its agent was not reached within {patience:?}"),
        };
        self.trouble(Some(id), format!("what is on {id} is not saved: {why}"));
        false
    }
}

/// Held while a machine is salvaged: its end goes on however that ends.
struct Salvaged {
    shared: Arc<Shared>,
    id: MachineId,
}

impl Drop for Salvaged {
    fn drop(&mut self) {
        self.shared.book.lock().salvaged(&self.id);
        self.shared.retire.notify_one();
    }
}
