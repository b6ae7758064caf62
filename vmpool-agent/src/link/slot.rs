//! What is known of one machine: its key, its connection, its health.
//!
//! Connection and health change together, under one lock: whoever sees
//! [`Health::Answering`] finds the connection that answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vmpool_core::{Clock, Health, KeyHash, MachineId, Notice, StepId};

use super::kept::{End, Kept, Protocol};

/// How exactly [`Health::Answering::at`] is kept.
const HEARD_EVERY: Duration = Duration::from_millis(500);

pub(super) struct Slot {
    machine: MachineId,
    clock: Clock,
    /// One dial at a time.
    dial: Semaphore,
    state: Mutex<State>,
    health: watch::Sender<Health>,
    notices: watch::Sender<Option<Notice>>,
    closing: CancellationToken,
}

#[derive(Default)]
struct State {
    key: Option<KeyHash>,
    current: Option<Arc<Kept>>,
    /// What its agent spoke when it was last met.
    protocol: Option<Protocol>,
    trouble: Option<String>,
    /// Steps of the incumbent's protocol, whose ends are given up when they
    /// are cancelled: its agent can't be told.
    steps: HashMap<StepId, CancellationToken>,
}

impl Slot {
    pub(super) fn new(machine: MachineId, closing: CancellationToken, clock: Clock) -> Self {
        Self {
            machine,
            clock,
            dial: Semaphore::new(1),
            state: Mutex::default(),
            health: watch::Sender::new(Health::Unconnected),
            notices: watch::Sender::default(),
            closing,
        }
    }

    pub(super) fn machine(&self) -> &MachineId {
        &self.machine
    }

    pub(super) fn dial(&self) -> &Semaphore {
        &self.dial
    }

    /// Cancelled when the machine is given up.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The key that the machine enrolled with while this runner ran.
    pub(super) fn key(&self) -> Option<KeyHash> {
        self.state.lock().key
    }

    pub(super) fn set_key(&self, key: KeyHash) {
        self.state.lock().key = Some(key);
    }

    /// What its agent speaks, if one was met.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.state.lock().protocol
    }

    /// Cancelled when the step is.
    pub(super) fn step(&self, id: &StepId) -> CancellationToken {
        let mut state = self.state.lock();
        state.steps.entry(id.clone()).or_default().clone()
    }

    /// What kept the last attempt from connecting.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }

    pub(super) fn set_trouble(&self, trouble: String) {
        self.state.lock().trouble = Some(trouble);
    }

    /// The open connection.
    pub(super) fn current(&self) -> Option<Arc<Kept>> {
        self.state
            .lock()
            .current
            .clone()
            .filter(|kept| kept.is_open())
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(super) fn notices(&self) -> watch::Receiver<Option<Notice>> {
        self.notices.subscribe()
    }

    /// The machine's cloud has said something of its end. The gravest stays.
    pub(super) fn notice(&self, notice: Notice) {
        self.notices.send_if_modified(|told| {
            let news = told.as_ref() != Some(&notice);
            let graver = notice.is_end() || !told.as_ref().is_some_and(Notice::is_end);
            let takes = news && graver;
            if takes {
                *told = Some(notice);
            }
            takes
        });
    }

    /// Takes a connection whose agent has just answered. `false`: it broke meanwhile.
    pub(super) fn keep(&self, kept: &Arc<Kept>) -> bool {
        let mut state = self.state.lock();
        if self.closing.is_cancelled() || kept.end().reason().is_some() {
            return false;
        }
        state.current = Some(Arc::clone(kept));
        state.protocol = Some(kept.protocol());
        state.trouble = None;
        self.health.send_replace(Health::Answering {
            at: self.clock.now(),
        });
        true
    }

    /// The connection of `end` is over.
    pub(super) fn lost(&self, end: &Arc<End>, reason: String) {
        end.set(reason.clone());
        let mut state = self.state.lock();
        if state
            .current
            .as_ref()
            .is_some_and(|kept| Arc::ptr_eq(kept.end(), end))
        {
            state.current = None;
            tracing::debug!(machine = %self.machine, %reason, "lost the connection to an agent");
            self.health.send_replace(Health::Lost { reason });
        }
    }

    /// Gives the machine up.
    pub(super) fn close(&self) {
        self.closing.cancel();
        let mut state = self.state.lock();
        state.current = None;
        self.health.send_replace(Health::Unconnected);
    }

    /// Something came from the agent. Who waits for a change of health is not
    /// woken: this is none.
    pub(super) fn heard(&self, last: &mut Instant) {
        let now = Instant::now();
        if now.duration_since(*last) < HEARD_EVERY {
            return;
        }
        *last = now;
        self.health.send_if_modified(|health| {
            if let Health::Answering { at } = health {
                *at = self.clock.at(now);
            }
            false
        });
    }
}
