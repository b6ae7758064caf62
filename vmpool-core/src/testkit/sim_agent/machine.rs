//! One simulated machine as its link knows it: its agent, the connection, and
//! what a test has done to it.

use tokio::sync::watch;
use tokio::time::Instant;

use super::hash::hash;
use super::{SimAgent, SimStep};
use crate::agent::{BootId, Call, Clocks, Moment, Refusal, Settings};
use crate::clock::Clock;
use crate::id::MachineId;
use crate::link::{Health, KeyHash};

/// One machine as the link knows it.
pub(super) struct Simulated {
    pub(super) agent: SimAgent,
    pub(super) key: KeyHash,
    pub(super) health: watch::Sender<Health>,
    /// Raised whenever something was done to the agent.
    pub(super) touched: watch::Sender<()>,
    pub(super) dead: Option<String>,
    clock: Clock,
    /// When it was dialled first: there its time begins.
    born: Instant,
    calls: u64,
    dies_at: Option<u64>,
}

/// Why a call was not answered.
#[derive(Debug)]
pub(super) enum CallError {
    /// The machine is dead, over, or not connected; why.
    Gone(String),
    /// The agent refused.
    Refused(Refusal),
}

impl Simulated {
    /// A machine that boots now.
    pub(super) fn new(id: &MachineId, clock: Clock, clocks: Clocks) -> Self {
        Self {
            agent: SimAgent::new(Settings::new(clocks, BootId("simulated".into()))),
            key: key_of(id),
            health: watch::Sender::new(Health::Unconnected),
            touched: watch::Sender::new(()),
            dead: None,
            clock,
            born: Instant::now(),
            calls: 0,
            dies_at: None,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            up: self.born.elapsed(),
            at: self.clock.now(),
        }
    }

    pub(super) fn die(&mut self, why: String) {
        self.dead = Some(why.clone());
        self.health.send_replace(Health::Lost { reason: why });
        self.touched.send_replace(());
    }

    pub(super) fn die_at(&mut self, nth: u64) {
        self.dies_at = Some(self.calls + nth);
    }

    /// Alive; one that has ended itself is dead from then on.
    pub(super) fn still_there(&mut self) -> Result<(), String> {
        if let (None, Some(why)) = (&self.dead, self.agent.rules().ending()) {
            let why = why.to_string();
            self.die(why);
        }
        self.dead.clone().map_or(Ok(()), Err)
    }

    pub(super) fn call(&mut self, call: Call, script: &SimStep) -> Result<(), CallError> {
        let now = self.now();
        self.agent.advance(now);
        self.still_there().map_err(CallError::Gone)?;
        self.calls += 1;
        let answer = self.agent.call(call, script, now);
        self.touched.send_replace(());
        if self.dies_at == Some(self.calls) {
            self.die("it died".to_owned());
        }
        self.still_there().map_err(CallError::Gone)?;
        if self.health.borrow().is_answering() {
            self.health.send_replace(Health::Answering { at: now.at });
        }
        answer.map_err(CallError::Refused)
    }
}

fn key_of(machine: &MachineId) -> KeyHash {
    let half = hash([machine.as_str().as_bytes()]);
    let mut key = [0; 32];
    key[..16].copy_from_slice(&half);
    key[16..].copy_from_slice(&half);
    KeyHash(key)
}
