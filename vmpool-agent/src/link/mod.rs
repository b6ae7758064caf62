//! The runner's connections to its agents: one kept open to each machine.
//!
//! `open` makes a connection ([`dialling`], and [`theirs`] to agents that speak
//! the incumbent's protocol), [`slot`] holds what is known of a
//! machine, [`kept`] is an open connection, which sees to its certificate's
//! [`renewal`] by itself, and hears what the machine's cloud says ([`watch`]).
//!
//! A connection that breaks is noticed at once where the system says so, else
//! by pings, and is not made again by itself: the pool is told by
//! [`Agents::health`], and whoever has a stage there asks by [`Agents::reach`].

mod dialling;
mod kept;
mod renewal;
mod slot;
mod theirs;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::pool::RequestHash;
use vmpool_core::{
    AgentLink, AgentReport, Attempt, Clock, Facts, Health, LinkError, Machine, MachineId, Notice,
    OrderId, PinKey, SecretBytes, StageId, StepId, Term,
};
use vmpool_proto::agent::v1::{HoldRequest, RenewRequest};

use self::dialling::{Dialling, Patience};
pub(crate) use self::kept::{Fate, Kept, Protocol};
use self::slot::Slot;
use crate::authority::Authority;
use crate::config::LinkConfig;
use crate::dial::Place;
use crate::executor::wire;
use crate::reason;

/// The deployment's side of its agents. Copies share the connections; when the
/// last copy is gone, they close.
#[derive(Clone)]
pub struct Agents(Arc<Shared>);

struct Shared {
    authority: Arc<Authority>,
    clocks: Clocks,
    config: LinkConfig,
    clock: Clock,
    slots: Mutex<HashMap<MachineId, Arc<Slot>>>,
    tracker: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents")
            .field("authority", &self.0.authority)
            .field("machines", &self.0.slots.lock().len())
            .finish_non_exhaustive()
    }
}

impl Agents {
    /// Agents of the deployment of `authority`; `clocks` is what their
    /// machines are born with.
    pub fn new(authority: Arc<Authority>, clocks: Clocks, config: LinkConfig) -> Self {
        let stop = CancellationToken::new();
        Self(Arc::new(Shared {
            authority,
            clocks,
            config,
            clock: Clock::system(),
            slots: Mutex::default(),
            tracker: TaskTracker::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }))
    }

    /// Closes all connections and waits until their tasks are over.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        let slots = std::mem::take(&mut *self.0.slots.lock());
        for slot in slots.values() {
            slot.close();
        }
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    pub(crate) fn config(&self) -> &LinkConfig {
        &self.0.config
    }

    /// The open connection to a machine that is enrolled, or a new one. Gives
    /// up when the agent counts as gone ([`LinkConfig::gone_after_refused`],
    /// [`LinkConfig::gone_after_silent`]).
    pub(crate) async fn reach(
        &self,
        machine: &Machine,
        term: Term,
    ) -> Result<Arc<Kept>, LinkError> {
        let slot = self.slot(&machine.id);
        if let Some(kept) = slot.current() {
            return Ok(kept);
        }
        let dialling = self.dialling(machine, term, None)?;
        Ok(
            until_closed(&slot, dialling.connect(&slot, Patience::Bounded))
                .await?
                .0,
        )
    }

    /// What the machine's agent speaks. It is asked where it was never met.
    pub(crate) async fn protocol(
        &self,
        machine: &Machine,
        term: Term,
    ) -> Result<Protocol, LinkError> {
        match self.slot(&machine.id).protocol() {
            Some(protocol) => Ok(protocol),
            None => Ok(self.reach(machine, term).await?.protocol()),
        }
    }

    /// Cancelled when the step is, where the agent can't be told that.
    pub(crate) fn step(&self, machine: &MachineId, step: &StepId) -> CancellationToken {
        self.slot(machine).step(step)
    }

    fn slot(&self, id: &MachineId) -> Arc<Slot> {
        let mut slots = self.0.slots.lock();
        Arc::clone(slots.entry(id.clone()).or_insert_with(|| {
            Arc::new(Slot::new(
                id.clone(),
                self.0.stop.child_token(),
                self.0.clock,
            ))
        }))
    }

    fn dialling<'a>(
        &'a self,
        machine: &'a Machine,
        term: Term,
        pins: Option<&'a dyn PinKey>,
    ) -> Result<Dialling<'a>, LinkError> {
        let Shared {
            authority,
            config,
            tracker,
            ..
        } = &*self.0;
        Ok(Dialling {
            authority,
            config,
            tracker,
            machine,
            place: Place::of(machine)?,
            term,
            pins,
        })
    }
}

#[async_trait]
impl AgentLink for Agents {
    fn bootstrap(&self, order: &OrderId, attempt: Attempt) -> Bootstrap {
        let authority = &self.0.authority;
        Bootstrap {
            order: order.clone(),
            attempt,
            ca_pem: authority.ca_pem().to_owned(),
            runner_name: authority.runner_name().to_owned(),
            secret: authority.secret(order, attempt),
            clocks: self.0.clocks,
        }
    }

    fn seal(&self, order: &OrderId, attempt: Attempt, request: &SecretBytes) -> Arc<[u8]> {
        self.0.authority.seal(order, attempt, request.expose())
    }

    fn unseal(
        &self,
        order: &OrderId,
        attempt: Attempt,
        sealed: &[u8],
    ) -> Result<SecretBytes, LinkError> {
        let opened = self.0.authority.unseal(order, attempt, sealed);
        opened.ok_or_else(|| LinkError::Unsealable {
            order: order.clone(),
        })
    }

    fn keyed_hash(&self, content: &[u8]) -> RequestHash {
        self.0.authority.keyed_hash(content)
    }

    async fn open(
        &self,
        machine: &Machine,
        term: Term,
        pins: &dyn PinKey,
    ) -> Result<AgentReport, LinkError> {
        let slot = self.slot(&machine.id);
        let dialling = self.dialling(machine, term, Some(pins))?;
        Ok(
            until_closed(&slot, dialling.connect(&slot, Patience::Endless))
                .await?
                .1,
        )
    }

    fn trouble(&self, id: &MachineId) -> Option<String> {
        let slot = self.0.slots.lock().get(id).cloned();
        slot.and_then(|slot| slot.trouble())
    }

    fn health(&self, id: &MachineId) -> Receiver<Health> {
        self.slot(id).health()
    }

    fn notices(&self, id: &MachineId) -> Receiver<Option<Notice>> {
        self.slot(id).notices()
    }

    async fn facts(&self, id: &MachineId) -> Option<Facts> {
        let slot = self.0.slots.lock().get(id).cloned()?;
        let kept = slot.current()?;
        if kept.protocol() == Protocol::Incumbent {
            return None;
        }
        watch::facts(kept.agent()).await
    }

    async fn renew(&self, id: &MachineId, term: Term) -> Result<(), LinkError> {
        let unreachable = |reason: String| LinkError::Unreachable {
            machine: id.clone(),
            reason,
        };
        let slot = self.0.slots.lock().get(id).cloned();
        let kept = slot.and_then(|slot| slot.current());
        let kept = kept.ok_or_else(|| unreachable("no connection is open".to_owned()))?;
        if kept.protocol() == Protocol::Incumbent {
            // It has no clocks that could be put off.
            return Ok(());
        }
        let mut agent = kept.agent();
        let renew = agent.renew(RenewRequest { term: term.0 });
        self.answered(renew, id, term).await
    }

    async fn hold(
        &self,
        id: &MachineId,
        term: Term,
        stage: &StageId,
        lasts: Duration,
    ) -> Result<(), LinkError> {
        let slot = self.0.slots.lock().get(id).cloned();
        let kept = slot.and_then(|slot| slot.current());
        let kept = kept.ok_or_else(|| LinkError::Unreachable {
            machine: id.clone(),
            reason: "no connection is open".to_owned(),
        })?;
        if kept.protocol() == Protocol::Incumbent {
            // It neither cleans up nor ends by itself.
            return Ok(());
        }
        let mut agent = kept.agent();
        let hold = agent.hold(HoldRequest {
            term: term.0,
            stage_id: stage.to_string(),
            lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        });
        self.answered(hold, id, term).await
    }

    fn close(&self, id: &MachineId) {
        let slot = self.0.slots.lock().remove(id);
        if let Some(slot) = slot {
            slot.close();
        }
    }
}

impl Agents {
    /// Waits for the answer to a short call.
    async fn answered<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
        id: &MachineId,
        term: Term,
    ) -> Result<(), LinkError> {
        let unreachable = |reason: String| LinkError::Unreachable {
            machine: id.clone(),
            reason,
        };
        match timeout(self.0.config.call_timeout, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(match wire::fenced_by(&status) {
                Some(theirs) => LinkError::Fenced {
                    machine: id.clone(),
                    ours: term,
                    theirs,
                },
                None => unreachable(reason::status(&status)),
            }),
            Err(_) => Err(unreachable("no answer in time".to_owned())),
        }
    }
}

async fn until_closed<T>(
    slot: &Slot,
    connect: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    slot.closing()
        .run_until_cancelled(connect)
        .await
        .unwrap_or_else(|| {
            Err(LinkError::Unreachable {
                machine: slot.machine().clone(),
                reason: "the connection was closed here".to_owned(),
            })
        })
}
