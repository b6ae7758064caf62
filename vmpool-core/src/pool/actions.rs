//! What a [pass](super::reconcile) found, done: orders and machines brought to
//! what the provider says of them.

use std::borrow::Cow;
use std::sync::Arc;

use super::PoolEvent;
use super::shared::Shared;
use crate::account::Mishap;
use crate::id::{MachineId, Version};
use crate::journal::{Change, CommitError, MachineRow, Row};
use crate::link::Machine;
use crate::machine::{self, MachineEvent, MachineState};
use crate::order::OrderEvent;
use crate::provider::Listed;
use crate::reconcile::{Action, Unaccounted};

/// Rows written in one transaction.
const BATCH: usize = 100;

impl Shared {
    /// Does what a pass found; says of which machines it could not be written down.
    pub(super) async fn carry_out(self: &Arc<Self>, actions: Vec<Action>) -> Vec<Unaccounted> {
        let mut changes = Vec::new();
        for action in actions {
            match action {
                // Both go on until they are written, as an order's task does.
                Action::Bind { order, machines } => drop(self.bind(&order, &machines).await),
                Action::ProveAbsent {
                    order,
                    slots,
                    cause,
                } => {
                    self.failed(Mishap::Launch, &cause);
                    let event = OrderEvent::ProveAbsent(slots);
                    self.change_order(&order, event, cause.into_owned()).await;
                }
                Action::ReadBack { row } => {
                    self.enter(&row, "read back from the journal".into());
                    self.count_slots();
                }
                Action::Over { machine, cause } => self.over_soon(machine, cause.into_owned()),
                Action::Adopt { listed, cause } => {
                    let row = self.adopted(listed, MachineState::Booting, cause.clone());
                    changes.push(Change::new(Arc::new(row), "adopted", cause));
                }
                Action::AdoptToEnd { listed, cause } => {
                    let row = self.adopted(listed, MachineState::Draining, cause.clone());
                    changes.push(Change::new(Arc::new(row), "adopted", cause));
                }
                Action::EndAgain { row, cause } => {
                    let event = MachineEvent::ShownAlive;
                    let Ok((state, _)) = machine::next(row.state, event) else {
                        continue;
                    };
                    let (at, version) = (self.now(), row.version.next());
                    let after = MachineRow {
                        state,
                        since: at,
                        cause: cause.clone(),
                        called_at: Some(at),
                        version,
                        ..(*row).clone()
                    };
                    changes.push(Change::new(Arc::new(after), state.as_str(), cause));
                }
                Action::Learn { machine, address } => {
                    let known = self.book.lock().machine(&machine).map(|m| m.row.clone());
                    if let Some(row) = known.filter(|row| row.machine.address.is_none()) {
                        let after = Arc::new(row.with_address(address));
                        let what = after.state.as_str();
                        changes.push(Change::new(after, what, "its address is known"));
                    }
                }
            }
        }
        self.write(changes).await
    }

    /// Writes rows of machines in as few transactions as can be. One that is
    /// refused takes no other along; the next listing speaks of it again.
    async fn write(self: &Arc<Self>, changes: Vec<Change>) -> Vec<Unaccounted> {
        let mut failed = Vec::new();
        for chunk in changes.chunks(BATCH) {
            if self.write_together(chunk).await.is_ok() {
                continue;
            }
            for change in chunk {
                if let Err(error) = self.write_together(std::slice::from_ref(change)).await {
                    if let Row::Machine(row) = &change.row {
                        failed.push(Unaccounted {
                            machine: row.id().clone(),
                            why: format!("it could not be written down: {error}").into(),
                        });
                    }
                    self.trouble(None, format!("{}: {error}", change.row.key()));
                }
            }
        }
        failed
    }

    async fn write_together(self: &Arc<Self>, changes: &[Change]) -> Result<(), CommitError> {
        self.commit(changes.to_vec()).await?;
        let rows = changes.iter().filter_map(|change| match &change.row {
            Row::Machine(row) => Some((row, &change.cause)),
            _ => None,
        });
        for (row, cause) in rows {
            self.enter(row, cause.clone());
        }
        self.count_slots();
        self.work.notify_one();
        self.retire.notify_one();
        Ok(())
    }

    /// Takes a row that was written into the book; a new machine is tended.
    fn enter(self: &Arc<Self>, row: &Arc<MachineRow>, cause: Cow<'static, str>) {
        let changed = {
            let mut book = self.book.lock();
            let before = book.machine(row.id()).map(|known| known.row.state);
            let changed = before != Some(row.state);
            if changed {
                self.announcer.tell(|| PoolEvent::Machine {
                    id: row.id().clone(),
                    state: row.state,
                    stage: row.stage.clone(),
                    cause,
                });
            }
            book.put_machine(row.clone());
            changed
        };
        if changed {
            self.tend_soon(row.id());
        }
    }

    /// The row of a machine that was never bound.
    fn adopted(&self, listed: Listed, state: MachineState, cause: Cow<'static, str>) -> MachineRow {
        let now = self.now();
        MachineRow {
            machine: Arc::new(Machine {
                id: listed.id,
                pool: self.name.clone(),
                order: listed.tags.order,
                attempt: listed.tags.attempt,
                address: listed.address,
                key: None,
            }),
            state,
            since: now,
            cause,
            stage: None,
            spec: None,
            launched_at: now,
            expires_at: listed.tags.expires_at,
            called_at: None,
            hold: None,
            version: Version(1),
        }
    }

    /// Notes a machine's end by a task of its own: what the provider can tell
    /// of it may take a while.
    fn over_soon(self: &Arc<Self>, id: MachineId, cause: String) {
        if !self.book.lock().begin_leaving(&id) {
            return;
        }
        let shared = self.clone();
        self.spawn("note an end", async move {
            shared.provider_says_gone(&id, cause).await;
            shared.book.lock().end_leaving(&id);
            shared.work.notify_one();
        });
    }
}
