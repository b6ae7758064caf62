//! The pool's line to simulated agents: what it sees of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::SimLink;
use crate::agent::{Bootstrap, Call};
use crate::id::{Attempt, MachineId, OrderId, StageId, Term};
use crate::link::{AgentLink, AgentReport, Health, LinkError, Machine, PinError, PinKey};
use crate::notice::Notice;
use crate::pool::RequestHash;
use crate::secret::SecretBytes;
use crate::testkit::SimStep;
use crate::testkit::sim_agent::hash::hash;
use crate::testkit::sim_agent::machine::CallError;

/// An agent that was not enrolled is dialled again this much later.
const DIALLED_AGAIN: Duration = Duration::from_secs(1);

#[async_trait]
impl AgentLink for SimLink {
    fn bootstrap(&self, order: &OrderId, attempt: Attempt) -> Bootstrap {
        Bootstrap {
            order: order.clone(),
            attempt,
            ca_pem: "simulated".into(),
            runner_name: "runner.simulated".into(),
            secret: SecretBytes::new(seal_of(order, attempt)),
            clocks: self.clocks,
        }
    }

    fn seal(&self, order: &OrderId, attempt: Attempt, request: &SecretBytes) -> Arc<[u8]> {
        let mut sealed = seal_of(order, attempt);
        sealed.extend(request.expose().iter().map(|byte| !byte));
        sealed.into()
    }

    fn unseal(
        &self,
        order: &OrderId,
        attempt: Attempt,
        sealed: &[u8],
    ) -> Result<SecretBytes, LinkError> {
        let request = sealed.strip_prefix(&*seal_of(order, attempt));
        let request = request.ok_or_else(|| LinkError::Unsealable {
            order: order.clone(),
        })?;
        Ok(SecretBytes::new(
            request.iter().map(|byte| !byte).collect::<Vec<_>>(),
        ))
    }

    fn keyed_hash(&self, content: &[u8]) -> RequestHash {
        RequestHash(hash([content]))
    }

    async fn open(
        &self,
        machine: &Machine,
        term: Term,
        pins: &dyn PinKey,
    ) -> Result<AgentReport, LinkError> {
        let id = &machine.id;
        if machine.address.is_none() {
            return Err(LinkError::NoAddress {
                machine: id.clone(),
            });
        }
        self.booted(id).await;
        let connects_after = self.world.lock().connects_after;
        tokio::time::sleep(connects_after).await;
        // The sender lives as long as `self`.
        let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
        if self.look(id, |_| ()).is_err() {
            return std::future::pending().await;
        }
        let key = self.machine(id, |simulated| simulated.key);
        let enrolment = |reason: String| LinkError::Enrolment {
            machine: id.clone(),
            reason,
        };
        match machine.key {
            Some(pinned) if pinned != key => {
                return Err(enrolment("it presents another key".into()));
            }
            Some(_) => {}
            // Dialled again, like a machine that does not answer yet.
            None => loop {
                match pins.pin(id, key).await {
                    Ok(()) => break,
                    Err(PinError::NotWritten { .. }) => tokio::time::sleep(DIALLED_AGAIN).await,
                    Err(error) => return Err(enrolment(error.to_string())),
                }
            },
        }
        // It may have fallen silent while that was written down.
        self.booted(id).await;
        // Here a real agent gets its certificate: its key is pinned by now.
        self.machine(id, |machine| machine.agent.enrol(machine.now()));
        let opened = self.machine(id, |machine| {
            machine.call(self.number, Call::Open { term }, &SimStep::exits(0))?;
            let at = self.clock.now();
            machine.tell(self.number, Health::Answering { at });
            Ok(machine.agent.rules().report("simulated"))
        });
        match opened {
            Ok(report) => Ok(report),
            Err(CallError::Gone(_)) => std::future::pending().await,
            Err(CallError::Refused(refusal)) => Err(match refusal.ruling() {
                Some(theirs) => LinkError::Fenced {
                    machine: id.clone(),
                    ours: term,
                    theirs,
                },
                None => enrolment(refusal.to_string()),
            }),
        }
    }

    fn health(&self, id: &MachineId) -> watch::Receiver<Health> {
        self.machine(id, |machine| machine.connection(self.number).subscribe())
    }

    fn notices(&self, id: &MachineId) -> watch::Receiver<Option<Notice>> {
        self.machine(id, |machine| machine.notices(self.number).subscribe())
    }

    async fn renew(&self, id: &MachineId, term: Term) -> Result<(), LinkError> {
        self.short(id, term, Call::Renew { term })
    }

    async fn hold(
        &self,
        id: &MachineId,
        term: Term,
        stage: &StageId,
        lasts: Duration,
    ) -> Result<(), LinkError> {
        let stage = stage.clone();
        self.short(id, term, Call::Hold { term, stage, lasts })
    }

    /// Closes the connection. The machine's agent stays as it is, for the next runner.
    fn close(&self, id: &MachineId) {
        self.machine(id, |machine| machine.tell(self.number, Health::Unconnected));
    }
}

impl SimLink {
    /// A call that is answered at once, or not at all.
    fn short(&self, id: &MachineId, term: Term, call: Call) -> Result<(), LinkError> {
        let unreachable = |reason: String| LinkError::Unreachable {
            machine: id.clone(),
            reason,
        };
        if *self.silent.borrow() || !self.is_answering(id) {
            return Err(unreachable("it does not answer".to_owned()));
        }
        match self.call(id, call, &SimStep::exits(0)) {
            Ok(()) => Ok(()),
            Err(CallError::Gone(why)) => Err(unreachable(why)),
            Err(CallError::Refused(refusal)) => Err(match refusal.ruling() {
                Some(theirs) => LinkError::Fenced {
                    machine: id.clone(),
                    ours: term,
                    theirs,
                },
                None => unreachable(refusal.to_string()),
            }),
        }
    }
}

/// What binds a sealed request to its order.
fn seal_of(order: &OrderId, attempt: Attempt) -> Vec<u8> {
    format!("simulated seal of {order}/{attempt}: ").into_bytes()
}
