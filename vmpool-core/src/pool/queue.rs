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
    next_ticket: u64,
    closed: Option<Closed>,
}

struct Waiter<T> {
    /// Rises along the queue, so that a cancelled waiter is found by bisection.
    ticket: u64,
    hand: oneshot::Sender<Claim<T>>,
}

/// The queue takes nobody any more; why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed(pub Arc<str>);

impl<T> ReadyQueue<T> {
    /// An empty queue.
    pub fn new() -> Arc<Self> {
        let inner = Inner {
            ready: VecDeque::new(),
            waiters: VecDeque::new(),
            next_ticket: 0,
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
        Some(Claim {
            item: Some(item),
            queue: self.clone(),
        })
    }

    /// A claim at once, or a place behind all who wait already.
    ///
    /// # Errors
    /// The queue is closed, or `most` wait already.
    pub fn claim(self: &Arc<Self>, most: usize) -> Result<Claiming<T>, Refusal> {
        let mut inner = self.inner.lock();
        if let Some(closed) = &inner.closed {
            return Err(Refusal::Closed(closed.clone()));
        }
        if let Some(item) = inner.ready.pop_front() {
            return Ok(Claiming::Now(Claim {
                item: Some(item),
                queue: self.clone(),
            }));
        }
        if inner.waiters.len() >= most {
            return Err(Refusal::Full(inner.waiters.len()));
        }
        let (hand, handed) = oneshot::channel();
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.waiters.push_back(Waiter { ticket, hand });
        Ok(Claiming::Later(Wait {
            ticket,
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

    fn forget_waiter(&self, ticket: u64) {
        let waiter = {
            let mut inner = self.inner.lock();
            let found = inner
                .waiters
                .binary_search_by_key(&ticket, |waiter| waiter.ticket);
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
    ticket: u64,
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
        self.queue.forget_waiter(self.ticket);
    }
}

impl<T> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}
