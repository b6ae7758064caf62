//! What happens in a pool, as a bounded stream.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::broadcast;

use crate::id::{MachineId, OrderId, StageId};
use crate::journal::Cordon;
use crate::machine::MachineState;
use crate::order::OrderState;
use crate::pool::Evidence;

/// Events a slow listener may be behind before it is told that it missed some.
const KEPT: usize = 1024;

/// Something that happened in a pool, after it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolEvent {
    /// An order changed.
    Order {
        /// The order.
        id: OrderId,
        /// Its new state.
        state: OrderState,
        /// Why.
        cause: Cow<'static, str>,
    },
    /// A machine changed.
    Machine {
        /// The machine.
        id: MachineId,
        /// Its new state.
        state: MachineState,
        /// The stage that has it.
        stage: Option<StageId>,
        /// Why.
        cause: Cow<'static, str>,
    },
    /// A request found no machine ready and waits.
    Waiting {
        /// The stage.
        stage: StageId,
    },
    /// Something went wrong; the pool goes on.
    Trouble(Evidence),
    /// A person said that the pool takes no new stages, or that it does again.
    Cordoned {
        /// What was said. None: it does.
        cordon: Option<Arc<Cordon>>,
    },
    /// The pool takes no requests any more.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An event.
    Event(PoolEvent),
    /// It was too slow, and this many are lost to it.
    Missed(u64),
}

/// A listener's end of the stream. It never holds the pool up.
#[derive(Debug)]
pub struct PoolEvents {
    from: broadcast::Receiver<PoolEvent>,
}

impl PoolEvents {
    /// The next event; `None` once the pool is gone.
    ///
    /// # Cancel safety
    /// Safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.from.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The pool's end.
#[derive(Debug)]
pub(super) struct Announcer {
    to: broadcast::Sender<PoolEvent>,
    /// Somebody may listen: spares the claim path the channel's lock.
    heard: AtomicBool,
}

impl Announcer {
    pub(super) fn new() -> Self {
        Self {
            to: broadcast::Sender::new(KEPT),
            heard: AtomicBool::new(false),
        }
    }

    pub(super) fn listen(&self) -> PoolEvents {
        let from = self.to.subscribe();
        self.heard.store(true, Ordering::Relaxed);
        PoolEvents { from }
    }

    /// Makes and sends the event only where somebody listens.
    pub(super) fn tell(&self, event: impl FnOnce() -> PoolEvent) {
        if !self.heard.load(Ordering::Relaxed) {
            return;
        }
        // Nobody left to hear it is no failure.
        if self.to.send(event()).is_err() {
            self.heard.store(false, Ordering::Relaxed);
            // Who came in between is heard of again.
            if self.to.receiver_count() > 0 {
                self.heard.store(true, Ordering::Relaxed);
            }
        }
    }
}
