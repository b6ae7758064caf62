//! The places of a door: so many connections at a time, and so much memory for
//! what they send.
//!
//! Who comes when all are taken gets the place of one that is silent: nobody
//! waits because others hold connections and ask nothing, or send their requests
//! drop by drop. One whose request is complete keeps its place until it is
//! answered, however long that takes.
//!
//! ```text
//! silent ──head and body are here──► asking ──the answer's end──► silent
//!    └─ the longest silent ones make room
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// What every request may have in memory. A usual one has less.
const FREE_BYTES: usize = 64 << 10;

/// What requests may have beyond that, all of them together.
const SHARED_BYTES: usize = 256 << 20;

/// One in so many makes room at a time: looking for them costs a look at all.
const PART: usize = 16;

/// The time of one that is not silent.
const ASKING: u64 = u64::MAX;

/// A handle: clones are the same places.
#[derive(Debug, Clone)]
pub(in crate::serve) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    /// What is left of [`SHARED_BYTES`].
    bytes: AtomicUsize,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
}

/// What one connection does.
#[derive(Debug)]
pub(super) struct Seat {
    places: Places,
    /// Since when it is silent, in nanoseconds; [`ASKING`]: it is not.
    silent_since: AtomicU64,
    /// What its request has in memory.
    bytes: AtomicUsize,
    given_up: CancellationToken,
}

/// A connection's place; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) seat: Arc<Seat>,
    number: u64,
    _permit: OwnedSemaphorePermit,
}

/// What came is too much while others send much, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many large requests at once")]
pub(in crate::serve) struct Crowded;

impl Places {
    pub(in crate::serve) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            taken: Mutex::default(),
            bytes: AtomicUsize::new(SHARED_BYTES),
            begun: Instant::now(),
        }))
    }

    /// A place for a connection that has come. Waits while all that have one
    /// wait for an answer.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn take(&self) -> Place {
        let free = Arc::clone(&self.0.free);
        let permit = if let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            permit
        } else {
            self.make_room();
            let permit = free.acquire_owned().await;
            permit.expect("the semaphore is never closed")
        };
        let seat = Arc::new(Seat {
            places: self.clone(),
            silent_since: AtomicU64::new(self.now()),
            bytes: AtomicUsize::new(0),
            given_up: CancellationToken::new(),
        });
        let mut taken = self.0.taken.lock();
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, Arc::clone(&seat));
        Place {
            seat,
            number,
            _permit: permit,
        }
    }

    /// Has the longest silent ones leave.
    fn make_room(&self) {
        let taken = self.0.taken.lock();
        let mut silent: Vec<(u64, &Arc<Seat>)> = taken
            .seats
            .values()
            .map(|seat| (seat.silent_since.load(Ordering::Relaxed), seat))
            .filter(|(since, seat)| *since != ASKING && !seat.given_up.is_cancelled())
            .collect();
        let part = silent.len().div_ceil(PART);
        if part == 0 {
            return;
        }
        silent.select_nth_unstable_by_key(part - 1, |(since, _)| *since);
        for (_, seat) in &silent[..part] {
            seat.given_up.cancel();
        }
        tracing::debug!(connections = part, "silent connections make room");
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.begun.elapsed().as_nanos()).unwrap_or(ASKING - 1)
    }
}

impl Seat {
    /// Ends when others need the place.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    /// A request has begun, or its last was answered.
    pub(super) fn is_silent(&self) {
        self.silent_since
            .store(self.places.now(), Ordering::Relaxed);
        let held = self.bytes.swap(0, Ordering::Relaxed);
        let shared = held.saturating_sub(FREE_BYTES);
        self.places.0.bytes.fetch_add(shared, Ordering::Relaxed);
    }

    /// Its request is complete.
    pub(super) fn is_asking(&self) {
        self.silent_since.store(ASKING, Ordering::Relaxed);
    }

    /// So much more of its request is here.
    ///
    /// # Errors
    /// It is too much for now.
    pub(super) fn came(&self, bytes: usize) -> Result<(), Crowded> {
        let before = self.bytes.load(Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        let of_all = after.saturating_sub(FREE_BYTES) - before.saturating_sub(FREE_BYTES);
        if of_all > 0 {
            let left = &self.places.0.bytes;
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(of_all)
            })
            .map_err(|_| Crowded)?;
        }
        self.bytes.store(after, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.is_silent();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seat.places.0.taken.lock().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_one_makes_room_and_one_that_asks_never() {
        let places = Places::new(3);
        let [asking, old, young] = [
            places.take().await,
            places.take().await,
            places.take().await,
        ];
        asking.seat.is_asking();
        young.seat.is_silent();
        let mut next = std::pin::pin!(places.take());
        let waits = timeout(Duration::from_secs(1), &mut next).await;
        assert!(waits.is_err(), "there is no room");
        let left = |place: &Place| place.seat.given_up.is_cancelled();
        assert_eq!([&asking, &old, &young].map(left), [false, true, false]);
        drop(old);
        let next = next.await;
        for place in [&young, &next] {
            place.seat.is_asking();
        }
        let waits = timeout(Duration::from_secs(1), places.take()).await;
        assert!(waits.is_err(), "there is no room");
        assert_eq!([&asking, &young, &next].map(left), [false; 3]);
    }

    #[tokio::test]
    async fn large_requests_share_a_bounded_memory_and_small_ones_need_none() {
        let places = Places::new(10);
        let [large, other, small] = [
            places.take().await,
            places.take().await,
            places.take().await,
        ];
        large.seat.came(SHARED_BYTES).unwrap();
        other.seat.came(FREE_BYTES).unwrap();
        other.seat.came(FREE_BYTES + 1).unwrap_err();
        small.seat.came(FREE_BYTES).unwrap();
        large.seat.is_silent();
        other.seat.came(SHARED_BYTES).unwrap();
        drop(other);
        small.seat.came(SHARED_BYTES).unwrap();
        drop((large, small));
        assert_eq!(places.0.bytes.load(Ordering::Relaxed), SHARED_BYTES);
    }
}
