//! One simulated machine: its agent, the runners' connections to it, and what a
//! test has done to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::hash::hash;
use super::{SimAgent, SimStep};
use crate::agent::{BootId, Call, Clocks, Moment, Refusal, Settings};
use crate::clock::Clock;
use crate::id::MachineId;
use crate::link::{Health, KeyHash};
use crate::notice::Notice;

/// One machine.
pub(super) struct Simulated {
    pub(super) agent: SimAgent,
    pub(super) key: KeyHash,
    /// One a link: each runner has a connection of its own.
    connections: BTreeMap<u64, watch::Sender<Health>>,
    /// What its cloud has said of its end.
    notice: Option<Notice>,
    /// As far as each link has heard of it.
    heard: BTreeMap<u64, watch::Sender<Option<Notice>>>,
    /// Told whenever something was done to the agent or to a connection.
    pub(super) touched: Arc<Notify>,
    pub(super) dead: Option<String>,
    /// It answers nobody, for now.
    pub(super) hangs: bool,
    clock: Clock,
    /// When it has booted: there its time begins.
    pub(super) born: Instant,
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
    /// A machine that is up from `born` on.
    pub(super) fn new(id: &MachineId, clock: Clock, clocks: Clocks, born: Instant) -> Self {
        Self {
            agent: SimAgent::new(Settings::new(clocks, BootId("simulated".into()))),
            key: key_of(id),
            connections: BTreeMap::new(),
            notice: None,
            heard: BTreeMap::new(),
            touched: Arc::new(Notify::new()),
            dead: None,
            hangs: false,
            clock,
            born,
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

    pub(super) fn connection(&mut self, link: u64) -> &watch::Sender<Health> {
        let unconnected = || watch::Sender::new(Health::Unconnected);
        self.connections.entry(link).or_insert_with(unconnected)
    }

    pub(super) fn notices(&mut self, link: u64) -> &watch::Sender<Option<Notice>> {
        self.heard.entry(link).or_default()
    }

    /// Its cloud says something, and the agent tells it where it is connected.
    pub(super) fn notice(&mut self, notice: &Notice) {
        self.notice = Some(notice.clone());
        let connections = self.connections.iter();
        let connected = connections.filter(|(_, health)| health.borrow().is_answering());
        for link in connected.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.notices(link).send_replace(Some(notice.clone()));
        }
    }

    /// The connection's health as it is from now on.
    pub(super) fn tell(&mut self, link: u64, health: Health) {
        if health.is_answering() && self.notice.is_some() {
            let notice = self.notice.clone();
            self.notices(link).send_replace(notice);
        }
        self.connection(link).send_replace(health);
        self.touched.notify_waiters();
    }

    /// All open connections break.
    pub(super) fn disconnect(&mut self, why: &str) {
        for connection in self.connections.values() {
            let reason = why.to_owned();
            connection.send_if_modified(|health| {
                let connected = *health != Health::Unconnected;
                if connected {
                    *health = Health::Lost { reason };
                }
                connected
            });
        }
        self.touched.notify_waiters();
    }

    pub(super) fn die(&mut self, why: String) {
        self.disconnect(&why);
        self.dead = Some(why);
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

    pub(super) fn call(
        &mut self,
        link: u64,
        call: Call,
        script: &SimStep,
    ) -> Result<(), CallError> {
        let now = self.now();
        self.agent.advance(now);
        self.still_there().map_err(CallError::Gone)?;
        self.calls += 1;
        let answer = self.agent.call(call, script, now);
        self.touched.notify_waiters();
        if self.dies_at == Some(self.calls) {
            self.die("it died".to_owned());
        }
        self.still_there().map_err(CallError::Gone)?;
        // Nobody waits for a connection to stay as it is.
        self.connection(link).send_if_modified(|health| {
            if health.is_answering() {
                *health = Health::Answering { at: now.at };
            }
            false
        });
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
