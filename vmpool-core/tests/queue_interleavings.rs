//! The claim path under every order in which its threads can run: the queue's
//! own source, built on shuttle's lock and a oneshot channel made of it.

use std::sync::Arc;

/// What `queue` is built on here.
mod sync {
    /// A lock as `parking_lot`'s, scheduled by shuttle.
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0
                .lock()
                .expect("no test panics while it holds the lock")
        }
    }

    pub(crate) mod oneshot {
        use std::pin::Pin;
        use std::sync::Arc;
        use std::task::{Context, Poll, Waker};

        use super::Mutex;

        pub(crate) struct Gone;

        struct State<T> {
            value: Option<T>,
            waker: Option<Waker>,
            sender_gone: bool,
            receiver_gone: bool,
        }

        pub(crate) struct Sender<T>(Arc<Mutex<State<T>>>);
        pub(crate) struct Receiver<T>(Arc<Mutex<State<T>>>);

        pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let state = State {
                value: None,
                waker: None,
                sender_gone: false,
                receiver_gone: false,
            };
            let state = Arc::new(Mutex::new(state));
            (Sender(state.clone()), Receiver(state))
        }

        impl<T> Sender<T> {
            pub(crate) fn send(self, value: T) -> Result<(), T> {
                let mut state = self.0.lock();
                if state.receiver_gone {
                    drop(state);
                    return Err(value);
                }
                state.value = Some(value);
                Ok(())
            }
        }

        impl<T> Drop for Sender<T> {
            fn drop(&mut self) {
                let waker = {
                    let mut state = self.0.lock();
                    state.sender_gone = true;
                    state.waker.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }

        impl<T> Drop for Receiver<T> {
            fn drop(&mut self) {
                let value = {
                    let mut state = self.0.lock();
                    state.receiver_gone = true;
                    state.value.take()
                };
                drop(value);
            }
        }

        impl<T> Future for Receiver<T> {
            type Output = Result<T, Gone>;

            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                let mut state = self.0.lock();
                if let Some(value) = state.value.take() {
                    return Poll::Ready(Ok(value));
                }
                if state.sender_gone {
                    return Poll::Ready(Err(Gone));
                }
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[path = "../src/pool/queue.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the pool uses more of it than the check"
)]
mod queue;

use queue::{Claiming, Closed, ReadyQueue, Wait};
use shuttle::future::block_on;
use shuttle::thread;

const RUNS: usize = 5_000;

fn claim(queue: &Arc<ReadyQueue<u32>>) -> Claiming<u32> {
    queue.claim(100).expect("the queue is open and not full")
}

fn wait(queue: &Arc<ReadyQueue<u32>>) -> Wait<u32> {
    match claim(queue) {
        Claiming::Later(wait) => wait,
        Claiming::Now(_) => panic!("nothing is ready"),
    }
}

fn get(claiming: Claiming<u32>) -> u32 {
    match claiming {
        Claiming::Now(claim) => claim.keep(),
        Claiming::Later(wait) => block_on(wait).expect("the queue is open").keep(),
    }
}

#[test]
fn every_claimant_gets_one_item_and_no_two_get_the_same() {
    shuttle::check_random(
        || {
            let queue = ReadyQueue::new();
            let claimants: Vec<_> = (0..3)
                .map(|_| {
                    let queue = queue.clone();
                    thread::spawn(move || get(claim(&queue)))
                })
                .collect();
            let offerers: Vec<_> = (0..3)
                .map(|item| {
                    let queue = queue.clone();
                    thread::spawn(move || queue.offer(item))
                })
                .collect();
            for thread in offerers {
                thread.join().unwrap();
            }
            let mut got: Vec<u32> = claimants
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect();
            got.sort_unstable();
            assert_eq!(got, [0, 1, 2]);
            assert_eq!((queue.ready(), queue.waiting()), (0, 0));
        },
        RUNS,
    );
}

#[test]
fn a_cancelled_waiter_loses_nothing() {
    shuttle::check_random(
        || {
            let queue = ReadyQueue::new();
            let cancelled = wait(&queue);
            let patient = wait(&queue);
            let dropper = thread::spawn(move || drop(cancelled));
            let offerer = {
                let queue = queue.clone();
                thread::spawn(move || queue.offer(7))
            };
            // Whether the cancelled one had it in hand or not, the other gets it.
            assert_eq!(block_on(patient).expect("the queue is open").keep(), 7);
            dropper.join().unwrap();
            offerer.join().unwrap();
            assert_eq!((queue.ready(), queue.waiting()), (0, 0));
        },
        RUNS,
    );
}

#[test]
fn a_claim_given_back_reaches_who_waits() {
    shuttle::check_random(
        || {
            let queue = ReadyQueue::new();
            queue.offer(7);
            let first = queue.try_claim().expect("one is ready");
            let second = {
                let queue = queue.clone();
                thread::spawn(move || get(claim(&queue)))
            };
            drop(first);
            assert_eq!(second.join().unwrap(), 7);
        },
        RUNS,
    );
}

#[test]
fn a_close_ends_every_wait_and_keeps_every_item() {
    shuttle::check_random(
        || {
            let queue = ReadyQueue::new();
            let waits = [wait(&queue), wait(&queue)];
            let closer = {
                let queue = queue.clone();
                thread::spawn(move || queue.close(Closed("drained".into())))
            };
            let offerer = {
                let queue = queue.clone();
                thread::spawn(move || queue.offer(7))
            };
            // Each ends, by a claim or by the close; a claim goes on to the next as it is dropped.
            for wait in waits {
                drop(block_on(wait));
            }
            closer.join().unwrap();
            offerer.join().unwrap();
            assert_eq!((queue.ready(), queue.waiting()), (1, 0));
            assert!(queue.claim(100).is_err());
        },
        RUNS,
    );
}
