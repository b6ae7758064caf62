//! The queue against a model of two lists: every item is in exactly one place,
//! waiters are served in the order they came, a cancellation loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use vmpool_core::pool::{Claim, Claiming, Closed, ReadyQueue, Refusal, Wait};

const MOST_WAITING: usize = 4;

type Who = u32;
type Item = u32;

/// What may be done to a queue.
#[derive(Debug, Clone)]
enum Op {
    Offer(Item),
    Claim(Who),
    /// A claimant that waits, or was handed an item and has not looked, goes away.
    Cancel(Who),
    /// A claimant looks whether it was handed an item.
    Look(Who),
    /// A claimant gives its item back.
    GiveBack(Who),
    /// A claimant keeps its item for good.
    Keep(Who),
    /// A ready item is taken out of the queue.
    Take(Item),
    Close,
}

/// The model.
#[derive(Debug, Clone, Default)]
struct Model {
    ready: VecDeque<Item>,
    waiting: VecDeque<Who>,
    /// Handed over, not looked at yet.
    handed: BTreeMap<Who, Item>,
    held: BTreeMap<Who, Item>,
    closed: bool,
    /// Waiters that a close refused, until they look or leave.
    refused: Vec<Who>,
    next: u32,
}

impl Model {
    fn place(&mut self, item: Item, front: bool) {
        match self.waiting.pop_front() {
            Some(who) => drop(self.handed.insert(who, item)),
            None if front => self.ready.push_front(item),
            None => self.ready.push_back(item),
        }
    }

    fn claimants(&self) -> Vec<Who> {
        let waiting = self.waiting.iter().copied();
        waiting
            .chain(self.handed.keys().copied())
            .chain(self.refused.iter().copied())
            .collect()
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Op> {
        let mut ops = vec![
            (4, Just(Op::Offer(state.next)).boxed()),
            (4, Just(Op::Claim(state.next)).boxed()),
        ];
        let claimants = state.claimants();
        if !claimants.is_empty() {
            ops.push((
                3,
                prop::sample::select(claimants.clone())
                    .prop_map(Op::Cancel)
                    .boxed(),
            ));
            ops.push((
                3,
                prop::sample::select(claimants).prop_map(Op::Look).boxed(),
            ));
        }
        if !state.held.is_empty() {
            let held: Vec<Who> = state.held.keys().copied().collect();
            ops.push((
                2,
                prop::sample::select(held.clone())
                    .prop_map(Op::GiveBack)
                    .boxed(),
            ));
            ops.push((1, prop::sample::select(held).prop_map(Op::Keep).boxed()));
        }
        if !state.ready.is_empty() {
            let ready: Vec<Item> = state.ready.iter().copied().collect();
            ops.push((1, prop::sample::select(ready).prop_map(Op::Take).boxed()));
        }
        ops.push((u32::from(state.next > 20), Just(Op::Close).boxed()));
        ops.retain(|(weight, _)| *weight > 0);
        prop::strategy::Union::new_weighted(ops).boxed()
    }

    fn preconditions(state: &Self, op: &Op) -> bool {
        match op {
            Op::Offer(_) | Op::Claim(_) | Op::Close => true,
            Op::Cancel(who) | Op::Look(who) => state.claimants().contains(who),
            Op::GiveBack(who) | Op::Keep(who) => state.held.contains_key(who),
            Op::Take(item) => state.ready.contains(item),
        }
    }

    fn apply(mut state: Self, op: &Op) -> Self {
        match op {
            Op::Offer(item) => {
                state.next += 1;
                state.place(*item, false);
            }
            Op::Claim(who) => {
                state.next += 1;
                if state.closed {
                } else if let Some(item) = state.ready.pop_front() {
                    state.held.insert(*who, item);
                } else if state.waiting.len() < MOST_WAITING {
                    state.waiting.push_back(*who);
                }
            }
            Op::Cancel(who) => {
                state.waiting.retain(|waiting| waiting != who);
                state.refused.retain(|refused| refused != who);
                if let Some(item) = state.handed.remove(who) {
                    state.place(item, true);
                }
            }
            Op::Look(who) => {
                state.refused.retain(|refused| refused != who);
                if let Some(item) = state.handed.remove(who) {
                    state.held.insert(*who, item);
                }
            }
            Op::GiveBack(who) => {
                if let Some(item) = state.held.remove(who) {
                    state.place(item, true);
                }
            }
            Op::Keep(who) => drop(state.held.remove(who)),
            Op::Take(item) => state.ready.retain(|ready| ready != item),
            Op::Close => {
                state.closed = true;
                state.refused.extend(state.waiting.drain(..));
            }
        }
        state
    }
}

/// The queue and its claimants.
struct Real {
    queue: Arc<ReadyQueue<Item>>,
    waits: BTreeMap<Who, Wait<Item>>,
    claims: BTreeMap<Who, Claim<Item>>,
}

struct QueueTest;

impl StateMachineTest for QueueTest {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        Real {
            queue: ReadyQueue::new(),
            waits: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    fn apply(mut real: Real, model: &Model, op: Op) -> Real {
        match op {
            Op::Offer(item) => real.queue.offer(item),
            Op::Claim(who) => match real.queue.claim(MOST_WAITING) {
                Ok(Claiming::Now(claim)) => {
                    assert_eq!(model.held.get(&who), Some(claim.item()));
                    real.claims.insert(who, claim);
                }
                Ok(Claiming::Later(wait)) => {
                    assert!(model.waiting.contains(&who));
                    real.waits.insert(who, wait);
                }
                Err(Refusal::Closed(_)) => assert!(model.closed),
                Err(Refusal::Full(waiting)) => assert_eq!(waiting, MOST_WAITING),
            },
            Op::Cancel(who) => drop(real.waits.remove(&who)),
            Op::Look(who) => {
                let mut wait = real
                    .waits
                    .remove(&who)
                    .expect("the model says that it waits");
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(&mut wait).poll(&mut cx) {
                    Poll::Ready(Ok(claim)) => {
                        assert_eq!(model.held.get(&who), Some(claim.item()));
                        real.claims.insert(who, claim);
                    }
                    Poll::Ready(Err(Closed(why))) => {
                        assert!(model.closed);
                        assert_eq!(&*why, "closed");
                    }
                    Poll::Pending => {
                        assert!(model.waiting.contains(&who));
                        real.waits.insert(who, wait);
                    }
                }
            }
            Op::GiveBack(who) => drop(real.claims.remove(&who)),
            Op::Keep(who) => {
                real.claims
                    .remove(&who)
                    .expect("the model says that it holds one")
                    .keep();
            }
            Op::Take(item) => {
                assert_eq!(real.queue.take(|ready| *ready == item), Some(item));
            }
            Op::Close => real.queue.close(Closed("closed".into())),
        }
        real
    }

    fn check_invariants(real: &Real, model: &Model) {
        assert_eq!(real.queue.ready(), model.ready.len());
        assert_eq!(real.queue.waiting(), model.waiting.len());
        let held: Vec<_> = real
            .claims
            .iter()
            .map(|(who, claim)| (*who, *claim.item()))
            .collect();
        let expected: Vec<_> = model.held.iter().map(|(who, item)| (*who, *item)).collect();
        assert_eq!(held, expected);
        assert!(model.waiting.is_empty() || model.ready.is_empty());
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_as_the_model(sequential 1..60 => QueueTest);
}
