//! An order's slots: each is bound to a machine, or proven absent.
//!
//! An order is changed by its one task alone, so what is in doubt after a
//! broken-off commit is settled by committing the same again.

use std::sync::Arc;

use super::PoolEvent;
use super::keeper::JOURNAL_PAUSE;
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::id::{OrderId, Version};
use crate::journal::{Change, CommitError, JournalError, MachineRow, OrderRow};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::order::{self, OrderEvent};
use crate::provider::Launched;

impl Shared {
    /// Binds machines to the order's open slots, each in the transaction that
    /// makes its row. Machines that are bound already are passed over. False:
    /// they are not bound, and never will be.
    pub(super) async fn bind(self: &Arc<Self>, id: &OrderId, found: &[Launched]) -> bool {
        loop {
            let fresh = match self.unbound(found).await {
                Ok(fresh) => fresh,
                Err(error) => {
                    self.trouble(None, error.to_string());
                    tokio::time::sleep(JOURNAL_PAUSE).await;
                    continue;
                }
            };
            let Some(order) = self.book.lock().order(id).cloned() else {
                return false;
            };
            if fresh.is_empty() {
                return true;
            }
            let now = self.now();
            let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
            let Ok(state) = order::next(order.state, OrderEvent::Bind(count)) else {
                self.trouble(None, format!("order {id} got {count} machines too many"));
                return false;
            };
            let version = order.version.next();
            let bound = Arc::new(OrderRow {
                state,
                version,
                ..(*order).clone()
            });
            let rows: Vec<_> = fresh
                .iter()
                .map(|launched| Arc::new(booting(&order, launched, now)))
                .collect();
            let cause = "the provider launched it";
            let mut changes = vec![Change::new(bound.clone(), "bound", cause)];
            changes.extend(
                rows.iter()
                    .map(|row| Change::new(row.clone(), "booting", cause)),
            );
            match self.commit_alone(changes, None).await {
                Ok(()) => {
                    self.metrics.launched(rows.len());
                    {
                        let mut book = self.book.lock();
                        book.put_order(bound);
                        for row in &rows {
                            book.put_machine(row.clone());
                        }
                    }
                    for row in rows {
                        self.announcer.tell(|| PoolEvent::Machine {
                            id: row.id().clone(),
                            state: row.state,
                            stage: None,
                            cause: cause.into(),
                        });
                        self.tend_soon(row.id());
                    }
                    self.count_slots();
                    self.work.notify_one();
                    return true;
                }
                Err(CommitError::Fenced { .. }) => return false,
                Err(error) => {
                    self.trouble(None, format!("bind the machines of order {id}: {error}"));
                    tokio::time::sleep(JOURNAL_PAUSE).await;
                }
            }
        }
    }

    /// Those that have no row yet. One that is gone keeps its row.
    async fn unbound<'a>(&self, found: &'a [Launched]) -> Result<Vec<&'a Launched>, JournalError> {
        let mut fresh = Vec::new();
        for launched in found {
            let known = self.book.lock().machine(&launched.id).is_some();
            if !known && self.parts.journal.machine(&launched.id).await?.is_none() {
                fresh.push(launched);
            }
        }
        Ok(fresh)
    }

    /// Takes an order through an event, until it is written down. False: it is not.
    pub(super) async fn change_order(
        &self,
        id: &OrderId,
        event: OrderEvent,
        cause: String,
    ) -> bool {
        loop {
            let Some(row) = self.book.lock().order(id).cloned() else {
                return false;
            };
            let Ok(state) = order::next(row.state, event) else {
                return false;
            };
            let called_at = if event == OrderEvent::Call {
                Some(self.now())
            } else {
                row.called_at
            };
            let version = row.version.next();
            let after = Arc::new(OrderRow {
                state,
                called_at,
                version,
                ..(*row).clone()
            });
            let what = if state.is_settled() {
                "settled"
            } else {
                "launching"
            };
            let change = Change::new(after.clone(), what, cause.clone());
            match self.commit_alone(vec![change], None).await {
                Ok(()) => {
                    self.book.lock().put_order(after);
                    self.announcer.tell(|| PoolEvent::Order {
                        id: id.clone(),
                        state,
                        cause: cause.into(),
                    });
                    self.count_slots();
                    self.work.notify_one();
                    return true;
                }
                Err(CommitError::Fenced { .. }) => return false,
                Err(error) => {
                    self.trouble(None, format!("write down order {id}: {error}"));
                    tokio::time::sleep(JOURNAL_PAUSE).await;
                }
            }
        }
    }
}

fn booting(order: &OrderRow, launched: &Launched, now: Timestamp) -> MachineRow {
    MachineRow {
        machine: Arc::new(Machine {
            id: launched.id.clone(),
            pool: order.pool.clone(),
            order: order.id.clone(),
            attempt: order.attempt,
            address: launched.address,
            key: None,
        }),
        state: MachineState::Booting,
        since: now,
        cause: "the provider launched it".into(),
        stage: None,
        spec: Some(order.spec.clone()),
        launched_at: now,
        expires_at: order.expires_at,
        called_at: None,
        hold: None,
        version: Version(1),
    }
}
