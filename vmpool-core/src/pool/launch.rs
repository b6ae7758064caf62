//! An order's way from intent to machines.
//!
//! The order, with the whole rendered request sealed, is durable before the
//! provider is called (P1). A call whose answer was lost is replayed with the
//! same bytes; what no replay settles, listings do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::PoolEvent;
use super::book::Backoff;
use super::keeper::JOURNAL_PAUSE;
use super::warm::Shared;
use crate::clock::Timestamp;
use crate::id::{Attempt, OrderId, Version};
use crate::journal::{Change, CommitError, JournalError, MachineRow, OrderRow};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::order::{self, OrderEvent, OrderState};
use crate::provider::{ErrorKind, LaunchOrder, Launched, OrderDraft, ProviderError, Tags};

/// First pause after a failed launch; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between launches.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Shared {
    /// Orders `count` machines, whose slots are reserved in the book.
    pub(super) async fn order(self: Arc<Self>, count: u32) {
        let written = self.write_order(count).await;
        let mut failed = None;
        {
            let mut book = self.book.lock();
            book.unreserve(count);
            match &written {
                Ok((row, _)) => book.put_order(row.clone()),
                Err(error) => failed = Some(error.clone()),
            }
        }
        self.count_slots();
        match written {
            Ok((row, launch)) => self.launch(row, launch, false).await,
            Err(_) => {
                if let Some(error) = failed {
                    self.hold_off(&error);
                }
            }
        }
    }

    /// Goes on with an order after a restart.
    pub(super) async fn replay(self: Arc<Self>, row: Arc<OrderRow>) {
        match self.parts.link.unseal(&row.id, row.attempt, &row.sealed) {
            Ok(request) => {
                let (id, attempt) = (row.id.clone(), row.attempt);
                let launch = LaunchOrder {
                    id,
                    attempt,
                    count: row.state.count(),
                    request,
                };
                self.launch(row, launch, true).await;
            }
            Err(error) => {
                self.trouble(None, format!("replay order {}: {error}", row.id));
                self.settle(&row.id).await;
            }
        }
    }

    /// Renders, seals and writes the order down, as about to be called.
    async fn write_order(&self, count: u32) -> Result<(Arc<OrderRow>, LaunchOrder), ProviderError> {
        let (id, attempt) = (OrderId::fresh(), Attempt(1));
        let (tags, limit) = {
            let config = &self.config;
            let tags = Tags {
                owner: config.owner.clone(),
                deployment: config.deployment.clone(),
                pool: self.name.clone(),
                order: id.clone(),
                attempt,
                expires_at: self.now().after(config.max_age),
            };
            (tags, self.book.lock().size.limit)
        };
        let bootstrap = self.parts.link.bootstrap(&id, attempt);
        let draft = OrderDraft {
            count,
            tags: &tags,
            bootstrap: &bootstrap,
        };
        let request = self.parts.provider.render(&draft)?;

        let now = self.now();
        let attempted = || format!("order {count} machines for pool {}", self.name);
        let state = order::next(OrderState::planned(count), OrderEvent::Call)
            .map_err(|error| ProviderError::new(ErrorKind::Unknown, attempted()).because(error))?;
        let row = Arc::new(OrderRow {
            id: id.clone(),
            pool: self.name.clone(),
            attempt,
            spec: self.capabilities.spec.clone(),
            state,
            sealed: self.parts.link.seal(&id, attempt, &request),
            created_at: now,
            called_at: Some(now),
            expires_at: tags.expires_at,
            version: Version(1),
        });
        let change = Change::new(row.clone(), "launching", "machines are missing");
        match self.commit_within(vec![change], Some(limit)).await {
            Ok(()) => {}
            // It may be in the journal: calling is safe then, and if it is not,
            // the machines' rows will say so. Not calling is safer.
            Err(error) => {
                return Err(ProviderError::new(ErrorKind::Transient, attempted()).because(error));
            }
        }
        self.announcer.tell(|| PoolEvent::Order {
            id: id.clone(),
            state,
            cause: "machines are missing".into(),
        });
        Ok((
            row,
            LaunchOrder {
                id,
                attempt,
                count,
                request,
            },
        ))
    }

    /// Calls the provider until nothing is unknown, or the deadline says that
    /// listings must tell. `called` says that a call may have been made before.
    async fn launch(self: &Arc<Self>, row: Arc<OrderRow>, launch: LaunchOrder, called: bool) {
        let patience = self.config.deadlines.launching;
        let until = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        let mut in_doubt = called;
        loop {
            let call = self.parts.provider.launch(&launch);
            let Ok(outcome) = tokio::time::timeout_at(until, call).await else {
                self.mark_called(&row.id).await;
                return self.settle(&row.id).await;
            };
            if !outcome.machines.is_empty() && self.bind(&row.id, &outcome.machines).await {
                self.book.lock().backoff = Backoff::default();
            }
            for (count, error) in &outcome.refused {
                self.hold_off(error);
                // A refused replay says nothing of the call whose answer was lost.
                if !in_doubt {
                    let event = OrderEvent::ProveAbsent(*count);
                    self.change_order(&row.id, event, chain(error)).await;
                }
            }
            self.work.notify_one();
            let Some((_, error)) = &outcome.unknown else {
                if in_doubt && !outcome.refused.is_empty() {
                    self.settle(&row.id).await;
                }
                return;
            };
            in_doubt = true;
            self.trouble(None, format!("{}; it is replayed", chain(error)));
            if Instant::now() + pause >= until {
                return self.settle(&row.id).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.mark_called(&row.id).await;
        }
    }

    /// Binds machines to the order's open slots, each in the transaction that
    /// makes its row. Machines that are bound already are passed over.
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
            match self.commit(changes).await {
                Ok(()) => {
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

    /// Takes an order through an event, until it is written down.
    pub(super) async fn change_order(&self, id: &OrderId, event: OrderEvent, cause: String) {
        loop {
            let Some(row) = self.book.lock().order(id).cloned() else {
                return;
            };
            let Ok(state) = order::next(row.state, event) else {
                return;
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
            match self
                .commit(vec![Change::new(after.clone(), what, cause.clone())])
                .await
            {
                Ok(()) => {
                    self.book.lock().put_order(after);
                    self.announcer.tell(|| PoolEvent::Order {
                        id: id.clone(),
                        state,
                        cause: cause.into(),
                    });
                    self.count_slots();
                    self.work.notify_one();
                    return;
                }
                Err(CommitError::Fenced { .. }) => return,
                Err(error) => {
                    self.trouble(None, format!("write down order {id}: {error}"));
                    tokio::time::sleep(JOURNAL_PAUSE).await;
                }
            }
        }
    }

    async fn mark_called(&self, id: &OrderId) {
        self.change_order(id, OrderEvent::Call, "its answer was lost".to_owned())
            .await;
    }

    /// A launch was refused: wait longer each time, or stop where only a person can help (P8).
    fn hold_off(&self, error: &ProviderError) {
        let text = chain(error);
        self.trouble(None, text.clone());
        if !error.kind.is_retryable() {
            return self.stop_taking(&text);
        }
        let mut book = self.book.lock();
        let pause = FIRST_PAUSE.saturating_mul(1 << book.backoff.failures.min(10));
        let named = match error.kind {
            ErrorKind::Throttled { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        book.backoff.failures += 1;
        book.backoff.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE).max(named));
        drop(book);
        self.work.notify_one();
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
        stage: None,
        launched_at: now,
        expires_at: order.expires_at,
        called_at: None,
        version: Version(1),
    }
}

/// An error with all that caused it, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
