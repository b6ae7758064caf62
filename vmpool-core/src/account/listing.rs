//! Listings that are shared: at most one of the same machines is under way, and
//! all who ask meanwhile share the next.
//!
//! A caller never gets a listing that was begun before it asked, because absence
//! counts from the moment of asking (P1): who comes after the call has been made
//! waits for another one. Whoever waits first makes it; where that one is
//! dropped, the next who waits goes on. It waits for its pass as the most urgent
//! of them would.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore, watch};

use super::{Account, CallKind, Pass, Priority};
use crate::id::Owner;
use crate::map::Map;
use crate::provider::{ErrorKind, Listing, Provider, ProviderError};

/// A listing that has not ended after this long counts as failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// The next listing does not wait for one that takes longer than this: so long
/// a hundred pages take.
const ONE_AT_A_TIME: Duration = Duration::from_secs(5);

type Answer = Result<Arc<Listing>, ProviderError>;

/// By the place in memory of the provider, or of what it shares with others,
/// and whose machines it lists.
type Key = (usize, Owner);

#[derive(Debug, Default)]
pub(super) struct Listings(Map<Key, Rounds>);

/// The listings of one provider and owner.
#[derive(Debug)]
struct Rounds {
    /// One permit: a listing is under way while it is taken.
    under_way: Arc<Semaphore>,
    /// The next, which has not been begun.
    next: Option<Arc<Round>>,
}

/// One listing, for all who wait for it.
#[derive(Debug)]
struct Round {
    /// That of the most urgent who waits for it.
    priority: watch::Sender<Priority>,
    answer: OnceCell<Answer>,
}

impl Account {
    /// All machines under `owner`'s tag, by a listing that is begun from now on.
    ///
    /// # Errors
    /// As [`Provider::list`], and it took more than a minute.
    ///
    /// # Cancel safety
    /// Who else waits for the same listing still gets one.
    pub async fn list(
        &self,
        provider: &Arc<dyn Provider>,
        owner: &Owner,
        priority: Priority,
    ) -> Result<Arc<Listing>, ProviderError> {
        let itself = || Arc::as_ptr(provider).cast::<()>() as usize;
        let key = (provider.lists_as().unwrap_or_else(itself), owner.clone());
        let (round, under_way) = self.join(&key, priority);
        let mut ours = false;
        let answer = round
            .answer
            .get_or_init(|| async {
                ours = true;
                // One that hangs holds the next one up for this long only.
                let permit = tokio::time::timeout(ONE_AT_A_TIME, under_way.acquire()).await;
                let pass = self.pass_for(&round).await;
                self.begin(&key, &round);
                let call = tokio::time::timeout(PATIENCE, provider.list(owner));
                let answer = pass.make(async {
                    call.await.unwrap_or_else(|late| {
                        let attempted = format!("list the machines of {owner}");
                        Err(ProviderError::new(ErrorKind::Transient, attempted).because(late))
                    })
                });
                let answer = answer.await.map(Arc::new);
                drop(permit);
                answer
            })
            .await
            .clone();
        if !ours {
            self.inner.metrics.shared();
        }
        self.forget_idle(&key);
        answer
    }

    /// The next listing, which is as urgent as this caller from now on.
    fn join(&self, key: &Key, priority: Priority) -> (Arc<Round>, Arc<Semaphore>) {
        let mut listings = self.inner.listings.lock();
        let rounds = listings.0.entry(key.clone()).or_insert_with(|| Rounds {
            under_way: Arc::new(Semaphore::new(1)),
            next: None,
        });
        let next = rounds.next.get_or_insert_with(|| {
            Arc::new(Round {
                priority: watch::Sender::new(priority),
                answer: OnceCell::new(),
            })
        });
        next.priority.send_if_modified(|now| {
            let more_urgent = priority < *now;
            *now = priority.min(*now);
            more_urgent
        });
        (next.clone(), rounds.under_way.clone())
    }

    async fn pass_for(&self, round: &Round) -> Pass {
        let mut priority = round.priority.subscribe();
        loop {
            let now = *priority.borrow_and_update();
            tokio::select! {
                biased;
                pass = self.pass(CallKind::List, now) => return pass,
                // Somebody more urgent joined. The sender lives as long as the round.
                _ = priority.changed() => {}
            }
        }
    }

    /// The listing is about to be asked for: nobody joins it any more.
    fn begin(&self, key: &Key, round: &Arc<Round>) {
        if let Some(rounds) = self.inner.listings.lock().0.get_mut(key) {
            rounds.next.take_if(|next| Arc::ptr_eq(next, round));
        }
    }

    /// Another provider may come to lie at the same place.
    fn forget_idle(&self, key: &Key) {
        let mut listings = self.inner.listings.lock();
        let idle = listings.0.get(key).is_some_and(|rounds| {
            rounds.next.is_none() && rounds.under_way.available_permits() == 1
        });
        if idle {
            listings.0.remove(key);
        }
    }
}
