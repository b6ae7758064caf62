//! An order's way from intent to machines.
//!
//! The order, with the whole rendered request sealed, is durable before the
//! provider is called (P1). A call whose answer was lost is replayed with the
//! same bytes; what no replay settles, listings do. Each call waits for the
//! account's pass before its moment is noted, so that it is made at that moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::PoolEvent;
use super::hold::Orders;
use super::shared::Shared;
use crate::account::{CallKind, Mishap, Pass, Priority};
use crate::clock::later;
use crate::id::{Attempt, OrderId, Version};
use crate::journal::{Change, CommitError, OrderRow};
use crate::order::{self, OrderEvent, OrderState};
use crate::provider::{ErrorKind, LaunchOrder, OrderDraft, Place, ProviderError, Tags};

/// First pause before a launch is replayed; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between replays.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

impl Shared {
    /// Waits for the account's pass, and orders what is missing by then: that
    /// the order is written down and called at once is what its moment of the
    /// call rests on.
    pub(super) async fn order(self: Arc<Self>, priority: Priority) {
        let account = &self.parts.account;
        let pass = account.pass(CallKind::Launch, priority).await;
        let reserved = self.reserve(priority);
        // More may be missing than one call takes, or later than now.
        self.work.notify_one();
        let Some(missing) = reserved else {
            return;
        };
        self.count_slots();
        let count = missing.count;
        let written = self.write_order(&missing).await;
        {
            let mut book = self.book.lock();
            book.unreserve(count);
            if let Ok((row, _)) = &written {
                book.put_order(row.clone());
            }
        }
        self.count_slots();
        match written {
            Ok((_, launch)) => self.launch(launch, Some(pass)).await,
            Err(NotOrdered::Provider(error)) => self.launch_refused(&error),
            Err(NotOrdered::Journal(error)) => {
                let text = format!("order {count} machines: {error}");
                self.trouble(None, text.clone());
                self.book.lock().hold.not_written(text);
                self.work.notify_one();
            }
        }
    }

    /// Takes the slots of what is missing now.
    fn reserve(&self, priority: Priority) -> Option<Missing> {
        let waiting = self.waiting();
        let shortage = self.parts.account.shortage(&self.capabilities);
        let mut book = self.book.lock();
        book.hold.end_asking(priority);
        match book.orders(waiting, &shortage, Instant::now()) {
            Orders::UpTo(most) => {
                let most = most.min(self.capabilities.max_batch.max(1));
                let (zone, count) = match book.waits.take_wishes(most) {
                    Some((zone, count)) => (Some(zone), count),
                    None => (None, most),
                };
                book.reserve(count);
                Some(Missing {
                    count,
                    avoid: shortage.avoid,
                    zone,
                })
            }
            Orders::None | Orders::HeldOff(_) | Orders::AfterProbe(_) => None,
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
                self.launch(launch, None).await;
            }
            Err(error) => {
                self.trouble(None, format!("replay order {}: {error}", row.id));
                self.settle(&row.id).await;
            }
        }
    }

    /// Renders, seals and writes the order down, as about to be called.
    async fn write_order(
        &self,
        missing: &Missing,
    ) -> Result<(Arc<OrderRow>, LaunchOrder), NotOrdered> {
        let count = missing.count;
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
            avoid: &missing.avoid,
            zone: missing.zone.as_deref(),
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
        self.commit_alone(vec![change], Some(limit)).await?;
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
    /// listings must tell. Without a pass a call may have been made before.
    async fn launch(self: &Arc<Self>, launch: LaunchOrder, mut first: Option<Pass>) {
        let id = &launch.id;
        let account = &self.parts.account;
        let until = later(self.config.deadlines.launching);
        let mut pause = FIRST_PAUSE;
        let mut in_doubt = first.is_none();
        loop {
            let pass = if let Some(pass) = first.take() {
                pass
            } else {
                let pass = account.pass(CallKind::Launch, Priority::Request);
                let Ok(pass) = tokio::time::timeout_at(until, pass).await else {
                    break;
                };
                if !self.mark_called(id, "it is called again").await {
                    return;
                }
                pass
            };
            let call = pass.make(self.parts.provider.launch(&launch));
            let Ok(outcome) = tokio::time::timeout_at(until, call).await else {
                break;
            };
            if !outcome.machines.is_empty() {
                if outcome.refused.is_empty() {
                    account.had_capacity(&self.capabilities);
                }
                if !self.bind(id, &outcome.machines).await {
                    break;
                }
            }
            for (count, error) in &outcome.refused {
                self.launch_refused(error);
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

    /// A launch was refused: whose matter is that (P8)?
    fn launch_refused(&self, error: &ProviderError) {
        let text = chain(error);
        self.trouble(None, text.clone());
        if !error.kind.is_retryable() {
            // Only another specification can help.
            return self.stop_taking(&text);
        }
        let mishap = match error.kind {
            // The account holds all launches off.
            ErrorKind::Throttled { .. } => None,
            ErrorKind::NoCapacity => {
                let account = &self.parts.account;
                let others = account.no_capacity(&self.capabilities, error.place.as_ref());
                (!others).then_some(Mishap::Refused)
            }
            ErrorKind::Quota => Some(Mishap::Refused),
            _ => Some(Mishap::Launch),
        };
        match mishap {
            Some(mishap) => self.failed(mishap, &text),
            None => self.work.notify_one(),
        }
    }
}

/// What an order is for, while its slots are reserved.
struct Missing {
    count: u32,
    /// Places without capacity.
    avoid: Vec<Place>,
    /// Where those who wait want it.
    zone: Option<Arc<str>>,
}

/// Why no order was written down.
enum NotOrdered {
    Provider(ProviderError),
    Journal(CommitError),
}

impl From<ProviderError> for NotOrdered {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl From<CommitError> for NotOrdered {
    fn from(error: CommitError) -> Self {
        Self::Journal(error)
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
