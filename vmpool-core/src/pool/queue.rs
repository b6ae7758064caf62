//! The ready ones and those who wait for them.
//!
//! One lock, one FIFO of ready items, one FIFO of waiters. An item is handed
//! to the first waiter, never laid out for whoever comes first: that keeps the
//! order and the tail short. What is handed over is a [`Claim`]: a waiter that
//! was cancelled drops it, and its item goes to the next one. So nothing is
//! lost by a cancellation, wherever it strikes.
//!
//! Invariants: an item is in exactly one place (ready, or in one claim); live
//! waiters are served in the order they came; while somebody waits, nothing is
//! ready.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::sync::{Mutex, oneshot};

/// A FIFO of items with a FIFO of waiters.
pub struct ReadyQueue<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    ready: VecDeque<T>,
    waiters: VecDeque<Waiter<T>>,
    next_place: u64,
    closed: Option<Closed>,
}

impl<T> Inner<T> {
    fn next_place(&mut self) -> Place {
        let place = self.next_place;
        self.next_place += 1;
        Place(place)
    }
}

struct Waiter<T> {
    /// Rises along the queue, so that a cancelled waiter is found by bisection.
    place: Place,
    hand: oneshot::Sender<Claim<T>>,
}

/// Where a claim stands among all that were ever asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// The queue takes nobody any more; why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed(pub Arc<str>);

impl<T> ReadyQueue<T> {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        let inner = Inner {
            ready: VecDeque::new(),
            waiters: VecDeque::new(),
            next_place: 0,
            closed: None,
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
        })
    }

    /// The item that is ready longest, if one is ready and the queue is open.
    pub fn try_claim(self: &Arc<Self>) -> Option<Claim<T>> {
        let mut inner = self.inner.lock();
        if inner.closed.is_some() {
            return None;
        }
        let item = inner.ready.pop_front()?;
        let place = inner.next_place();
        Some(Claim {
            item: Some(item),
            place,
            queue: self.clone(),
        })
    }

    /// A claim at once, or a place behind all who wait already.
    ///
    /// # Errors
    /// The queue is closed, or `most` wait already.
    pub fn claim(self: &Arc<Self>, most: usize) -> Result<Claiming<T>, Refusal> {
        let mut inner = self.inner.lock();
        if inner.closed.is_none() && inner.ready.is_empty() && inner.waiters.len() >= most {
            return Err(Refusal::Full(inner.waiters.len()));
        }
        let place = inner.next_place();
        self.claim_at(&mut inner, place)
    }

    /// A claim at once, or the place of an earlier one whose item was no use:
    /// before all who came after it.
    ///
    /// # Errors
    /// The queue is closed.
    pub fn claim_again(self: &Arc<Self>, place: Place) -> Result<Claiming<T>, Refusal> {
        self.claim_at(&mut self.inner.lock(), place)
    }

    fn claim_at(
        self: &Arc<Self>,
        inner: &mut Inner<T>,
        place: Place,
    ) -> Result<Claiming<T>, Refusal> {
        if let Some(closed) = &inner.closed {
            return Err(Refusal::Closed(closed.clone()));
        }
        if let Some(item) = inner.ready.pop_front() {
            return Ok(Claiming::Now(Claim {
                item: Some(item),
                place,
                queue: self.clone(),
            }));
        }
        let (hand, handed) = oneshot::channel();
        let waiter = Waiter { place, hand };
        // Nearly always at the end.
        match inner.waiters.back() {
            Some(last) if last.place > place => {
                let at = inner.waiters.partition_point(|other| other.place < place);
                inner.waiters.insert(at, waiter);
            }
            _ => inner.waiters.push_back(waiter),
        }
        Ok(Claiming::Later(Wait {
            place,
            handed,
            queue: self.clone(),
        }))
    }

    /// Hands `item` to the first waiter, or lays it behind the ready ones.
    pub fn offer(self: &Arc<Self>, item: T) {
        self.hand_over(item, VecDeque::push_back);
    }

    /// Takes out the first ready item that `which` wants.
    pub fn take(&self, which: impl Fn(&T) -> bool) -> Option<T> {
        let mut inner = self.inner.lock();
        let at = inner.ready.iter().position(which)?;
        inner.ready.remove(at)
    }

    /// Why nobody is taken any more, if so.
    pub fn closed(&self) -> Option<Closed> {
        self.inner.lock().closed.clone()
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.inner.lock().waiters.len()
    }

    /// Refuses all who wait and all who come. What is ready stays, to be taken out.
    pub fn close(&self, why: Closed) {
        let waiters = {
            let mut inner = self.inner.lock();
            inner.closed.get_or_insert(why);
            std::mem::take(&mut inner.waiters)
        };
        // Dropped here, outside the lock: each waiter then sees that it is closed.
        drop(waiters);
    }

    /// Takes whoever comes again. Those who were refused ask anew.
    pub fn open(&self) {
        self.inner.lock().closed = None;
    }

    fn hand_over(self: &Arc<Self>, item: T, keep: impl FnOnce(&mut VecDeque<T>, T)) {
        let mut item = item;
        loop {
            let waiter = {
                let mut inner = self.inner.lock();
                match inner.waiters.pop_front() {
                    Some(waiter) => waiter,
                    None => return keep(&mut inner.ready, item),
                }
            };
            // Sent outside the lock: a claim that comes back here takes it.
            let claim = Claim {
                item: Some(item),
                place: waiter.place,
                queue: self.clone(),
            };
            match waiter.hand.send(claim) {
                Ok(()) => return,
                Err(mut refused) => match refused.item.take() {
                    Some(back) => item = back,
                    None => return,
                },
            }
        }
    }

    fn forget_waiter(&self, place: Place) {
        let waiter = {
            let mut inner = self.inner.lock();
            let found = inner
                .waiters
                .binary_search_by_key(&place, |waiter| waiter.place);
            found.ok().and_then(|at| inner.waiters.remove(at))
        };
        drop(waiter);
    }
}

impl<T> fmt::Debug for ReadyQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyQueue").finish_non_exhaustive()
    }
}

/// Why there is not even a place to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is closed.
    Closed(Closed),
    /// So many wait already.
    Full(usize),
}

/// A claim, now or later.
#[derive(Debug)]
pub enum Claiming<T> {
    /// An item was ready.
    Now(Claim<T>),
    /// None was; this waits for one.
    Later(Wait<T>),
}

/// One item, held by one claimant. Dropped, its item goes to the next waiter,
/// or back to the front of the ready ones.
pub struct Claim<T> {
    item: Option<T>,
    place: Place,
    queue: Arc<ReadyQueue<T>>,
}

impl<T> Claim<T> {
    /// The item.
    ///
    /// # Panics
    /// Never: the item leaves only with the claim.
    pub fn item(&self) -> &T {
        self.item
            .as_ref()
            .expect("the item leaves only with the claim")
    }

    /// Where it stood, for [`ReadyQueue::claim_again`].
    pub fn place(&self) -> Place {
        self.place
    }

    /// Takes the item for good.
    ///
    /// # Panics
    /// Never: the item leaves only with the claim.
    pub fn keep(mut self) -> T {
        self.item
            .take()
            .expect("the item leaves only with the claim")
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.queue.hand_over(item, VecDeque::push_front);
        }
    }
}

impl<T> fmt::Debug for Claim<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// A place among those who wait. Dropped, it is given up and nothing else.
pub struct Wait<T> {
    place: Place,
    handed: oneshot::Receiver<Claim<T>>,
    queue: Arc<ReadyQueue<T>>,
}

impl<T> Future for Wait<T> {
    /// The claim, or why the queue closed.
    type Output = Result<Claim<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handed).poll(cx).map(|handed| {
            handed.map_err(|_| {
                let closed = self.queue.inner.lock().closed.clone();
                closed.unwrap_or_else(|| Closed("the queue is gone".into()))
            })
        })
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        self.queue.forget_waiter(self.place);
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}
