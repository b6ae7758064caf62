//! An order's way from intent to machines.
//!
//! The order, with the whole rendered request sealed, is durable before the
//! provider is called (P1). A call whose answer was lost is replayed with the
//! same bytes; what no replay settles, listings do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::PoolEvent;
use super::warm::Shared;
use crate::clock::later;
use crate::id::{Attempt, OrderId, Version};
use crate::journal::{Change, OrderRow};
use crate::order::{self, OrderEvent, OrderState};
use crate::provider::{ErrorKind, LaunchOrder, OrderDraft, ProviderError, Tags};

/// First pause before a launch is replayed; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between replays.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

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
            Ok((_, launch)) => self.launch(launch, false).await,
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
                self.launch(launch, true).await;
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
            avoid: &[],
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
        self.commit_alone(vec![change], Some(limit))
            .await
            .map_err(|error| {
                ProviderError::new(ErrorKind::Transient, attempted()).because(error)
            })?;
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
    async fn launch(self: &Arc<Self>, launch: LaunchOrder, called: bool) {
        let id = &launch.id;
        let until = later(self.config.deadlines.launching);
        let mut pause = FIRST_PAUSE;
        let mut in_doubt = called;
        loop {
            let call = self.parts.provider.launch(&launch);
            let Ok(outcome) = tokio::time::timeout_at(until, call).await else {
                break;
            };
            if !outcome.machines.is_empty() && !self.bind(id, &outcome.machines).await {
                break;
            }
            for (count, error) in &outcome.refused {
                self.hold_off(error);
                // A refused replay says nothing of the call whose answer was lost.
                if !in_doubt {
                    let event = OrderEvent::ProveAbsent(*count);
                    self.change_order(id, event, chain(error)).await;
                }
            }
            self.work.notify_one();
            let Some((_, error)) = &outcome.unknown else {
                break;
            };
            in_doubt = true;
            self.trouble(None, format!("{}; it is replayed", chain(error)));
            if Instant::now() + pause >= until {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if !self.mark_called(id, "it is called again").await {
                return;
            }
        }
        // Listings tell what the answers left open.
        let open = self.book.lock().order(id).is_some();
        if open && self.mark_called(id, "listings must tell what it got").await {
            self.settle(id).await;
        }
    }

    /// Notes the moment of a call, before it is made. False: it must not be made.
    async fn mark_called(&self, id: &OrderId, cause: &str) -> bool {
        self.change_order(id, OrderEvent::Call, cause.to_owned())
            .await
    }

    /// A launch was refused: wait longer each time, or stop where only a person can help (P8).
    fn hold_off(&self, error: &ProviderError) {
        let text = chain(error);
        self.trouble(None, text.clone());
        if !error.kind.is_retryable() {
            return self.stop_taking(&text);
        }
        let named = match error.kind {
            ErrorKind::Throttled { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        self.book.lock().backoff.failed(named);
        self.work.notify_one();
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
