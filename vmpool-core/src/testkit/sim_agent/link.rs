//! Simulated agents by machine, and what a test may do to them.

mod line;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::machine::{CallError, Simulated};
use super::{SimAgent, SimStep};
use crate::agent::{Call, Clocks};
use crate::clock::Clock;
use crate::id::MachineId;
use crate::link::Health;
use crate::notice::Notice;
use crate::step::Step;

type Script = dyn Fn(&Step) -> SimStep + Send + Sync;

/// Simulated agents by machine, and one runner's connections to them.
pub struct SimLink {
    clock: Clock,
    clocks: Clocks,
    world: Arc<Mutex<World>>,
    /// No agent answers while this is true.
    silent: Arc<watch::Sender<bool>>,
    /// Tells this runner's connections from those of others.
    number: u64,
    links: Arc<AtomicU64>,
}

struct World {
    machines: BTreeMap<MachineId, Simulated>,
    connects_after: Duration,
    script: Arc<Script>,
}

impl fmt::Debug for SimLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLink")
            .field("clocks", &self.clocks)
            .finish_non_exhaustive()
    }
}

impl SimLink {
    /// Agents that connect at once and never fail, with the default clocks.
    pub fn new(clock: Clock) -> Arc<Self> {
        Self::with_clocks(clock, Clocks::default())
    }

    /// Agents with these dead-man's clocks.
    pub fn with_clocks(clock: Clock, clocks: Clocks) -> Arc<Self> {
        let world = World {
            machines: BTreeMap::new(),
            connects_after: Duration::ZERO,
            script: Arc::new(|_| SimStep::exits(0)),
        };
        Arc::new(Self {
            clock,
            clocks,
            world: Arc::new(Mutex::new(world)),
            silent: Arc::new(watch::Sender::new(false)),
            number: 0,
            links: Arc::new(AtomicU64::new(1)),
        })
    }

    /// The line of another runner to the same agents. What a test does to an
    /// agent through either is seen by both.
    pub fn beside(&self) -> Arc<Self> {
        Arc::new(Self {
            clock: self.clock,
            clocks: self.clocks,
            world: self.world.clone(),
            silent: self.silent.clone(),
            number: self.links.fetch_add(1, Ordering::Relaxed),
            links: self.links.clone(),
        })
    }

    /// A machine that takes this long to boot; its time begins then. One that
    /// nobody told of is up when it is dialled first.
    pub fn boot(&self, id: &MachineId, takes: Duration) {
        let born = Instant::now() + takes;
        let machine = Simulated::new(id, self.clock, self.clocks, born);
        self.world.lock().machines.insert(id.clone(), machine);
    }

    /// What steps do that are started from now on.
    pub fn script(&self, script: impl Fn(&Step) -> SimStep + Send + Sync + 'static) {
        self.world.lock().script = Arc::new(script);
    }

    /// Each opening from now on takes this long.
    pub fn connect_after(&self, time: Duration) {
        self.world.lock().connects_after = time;
    }

    /// While true, no opening and no call of an executor is answered, and
    /// renewals fail. Open connections stay as they are.
    pub fn never_answer(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// The connection breaks; the agent goes on and can be opened again.
    pub fn lose(&self, id: &MachineId, why: impl Into<String>) {
        let why = why.into();
        self.machine(id, |machine| machine.disconnect(&why));
    }

    /// While true the machine answers nobody; its steps run on.
    pub fn hang(&self, id: &MachineId, hangs: bool) {
        self.machine(id, |machine| {
            if machine.hangs != hangs {
                machine.hangs = hangs;
                machine.disconnect("it does not answer");
            }
        });
    }

    /// The machine dies: it never answers again.
    pub fn kill(&self, id: &MachineId, why: impl Into<String>) {
        let why = why.into();
        self.machine(id, |machine| machine.die(why));
    }

    /// The machine dies at the `nth` call from now on, openings included: that
    /// one is carried out, and neither it nor any later one is answered.
    pub fn die_at(&self, id: &MachineId, nth: u64) {
        self.machine(id, |machine| machine.die_at(nth));
    }

    /// From now on the machine presents another key.
    pub fn change_key(&self, id: &MachineId) {
        self.machine(id, |machine| {
            machine.key.0.iter_mut().for_each(|byte| *byte = !*byte);
        });
    }

    /// The agent's process dies and is started again; its steps run on.
    pub fn restart_agent(&self, id: &MachineId) {
        self.machine(id, |machine| {
            machine.agent.restart(machine.now());
            machine.disconnect("its agent restarts");
        });
    }

    /// The machine's cloud says something of its end, and its agent tells it
    /// to those who are connected, and to the others once they are.
    pub fn notice(&self, id: &MachineId, notice: &Notice) {
        self.machine(id, |machine| machine.notice(notice));
    }

    /// The connection is open and its agent answers.
    pub fn is_answering(&self, id: &MachineId) -> bool {
        let number = self.number;
        self.machine(id, |machine| {
            machine.connection(number).borrow().is_answering()
        })
    }

    /// The machine has ended itself.
    pub fn is_over(&self, id: &MachineId) -> bool {
        self.machine(id, |machine| {
            machine.agent.advance(machine.now());
            machine.agent.is_over()
        })
    }

    /// The agent as it is now.
    pub fn agent(&self, id: &MachineId) -> SimAgent {
        self.machine(id, |machine| {
            machine.agent.advance(machine.now());
            machine.agent.clone()
        })
    }

    /// The machine, made where there is none.
    fn machine<T>(&self, id: &MachineId, with: impl FnOnce(&mut Simulated) -> T) -> T {
        let mut world = self.world.lock();
        let machine = world
            .machines
            .entry(id.clone())
            .or_insert_with(|| Simulated::new(id, self.clock, self.clocks, Instant::now()));
        with(machine)
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn script_of(&self, step: &Step) -> SimStep {
        let script = self.world.lock().script.clone();
        script(step).within(step.timeout)
    }

    /// Told of each change in the machine's connections and in its agent. Who
    /// waits is woken in the order of asking.
    pub(super) fn touched(&self, id: &MachineId) -> Arc<Notify> {
        self.machine(id, |machine| machine.touched.clone())
    }

    /// Waits while the connection is broken or the agent hangs; an error once
    /// there is none.
    pub(super) async fn reach(&self, id: &MachineId) -> Result<(), String> {
        // The sender lives as long as `self`.
        let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
        let touched = self.touched(id);
        loop {
            let mut changed = pin!(touched.notified());
            changed.as_mut().enable();
            let (dead, hangs, health) = self.machine(id, |machine| {
                let health = machine.connection(self.number).borrow().clone();
                (machine.dead.clone(), machine.hangs, health)
            });
            match (dead, health) {
                (Some(why), _) => return Err(why),
                (None, Health::Answering { .. }) if !hangs => return Ok(()),
                (None, Health::Unconnected) => return Err("it is not connected".to_owned()),
                (None, Health::Answering { .. } | Health::Lost { .. }) => changed.await,
            }
        }
    }

    /// Waits until a machine is up that is being dialled.
    async fn booted(&self, id: &MachineId) {
        let born = self.machine(id, |machine| machine.born);
        tokio::time::sleep_until(born).await;
        let touched = self.touched(id);
        loop {
            let mut changed = pin!(touched.notified());
            changed.as_mut().enable();
            if !self.machine(id, |machine| machine.hangs) {
                return;
            }
            changed.await;
        }
    }

    /// Looks at the agent as it is now, without calling it.
    pub(super) fn look<T>(
        &self,
        id: &MachineId,
        look: impl FnOnce(&SimAgent) -> T,
    ) -> Result<(T, Instant), String> {
        self.machine(id, |machine| {
            let now = machine.now();
            machine.agent.advance(now);
            machine.still_there()?;
            let far = Duration::from_hours(24 * 365);
            let wake = machine.agent.next_event().saturating_sub(now.up).min(far);
            Ok((look(&machine.agent), Instant::now() + wake))
        })
    }

    /// Makes a call to the agent.
    pub(super) fn call(
        &self,
        id: &MachineId,
        call: Call,
        script: &SimStep,
    ) -> Result<(), CallError> {
        self.machine(id, |machine| machine.call(self.number, call, script))
    }
}
