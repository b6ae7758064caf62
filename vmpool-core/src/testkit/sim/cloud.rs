//! The cloud: machines, and what is seen of them when. It outlives all runners.
//!
//! Eventually consistent: a listing may not show what was launched, and show as
//! alive what is over, for the consistency window. What it is asked for is
//! carried out at once or not at all; the answer may be late, lost, or never come.

mod fates;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::dice::Dice;
use super::instance::Instance;
use super::trace::Trace;
use crate::clock::{Clock, Timestamp};
use crate::id::{Attempt, MachineId, OrderId, Owner, PoolName};
use crate::provider::{LaunchOrder, Launched, Listed, ListedState, Tags};
use crate::secret::SecretBytes;
use crate::testkit::SimLink;

/// For this long after a change a listing may not show it.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// So long before it takes a machine away it may say so.
pub(super) const NOTICE: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub(super) struct Cloud {
    clock: Clock,
    link: Arc<SimLink>,
    trace: Arc<Trace>,
    dice: Arc<Dice>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    machines: BTreeMap<MachineId, Instance>,
    launches: BTreeMap<(OrderId, Attempt), (SecretBytes, Vec<Launched>)>,
    templates: BTreeMap<(OrderId, Attempt), Tags>,
    limits: BTreeMap<PoolName, u32>,
    harmed: BTreeSet<MachineId>,
    /// Machines that can't be prepared, and how many of the next ones can't.
    spoiled: BTreeSet<MachineId>,
    to_spoil: usize,
    /// Since when each dead machine is that, whatever the provider shows.
    dead: BTreeMap<MachineId, Timestamp>,
    /// Since when machines are told that they end.
    noticed: BTreeMap<MachineId, Timestamp>,
    /// Since when machines answer nobody that will again.
    hanging: BTreeMap<MachineId, Timestamp>,
    calls: BTreeMap<&'static str, Vec<Timestamp>>,
    /// Pools whose launches can't work.
    broken: BTreeSet<PoolName>,
    /// Machines that the journal knew before it was lost.
    forgotten: BTreeSet<MachineId>,
    /// Those of them that no listing showed when it was lost.
    unseen: BTreeSet<MachineId>,
}

impl Cloud {
    pub(super) fn new(
        clock: Clock,
        link: Arc<SimLink>,
        trace: Arc<Trace>,
        dice: Arc<Dice>,
    ) -> Self {
        Self {
            clock,
            link,
            trace,
            dice,
            inner: Mutex::default(),
        }
    }

    /// What may be alive of a pool at any moment (P7).
    pub(super) fn limit(&self, pool: &PoolName, limit: u32) {
        self.inner.lock().limits.insert(pool.clone(), limit);
    }

    /// No launch of the pool can work.
    pub(super) fn break_pool(&self, pool: &PoolName) {
        self.inner.lock().broken.insert(pool.clone());
    }

    pub(super) fn is_broken(&self, pool: &PoolName) -> bool {
        self.inner.lock().broken.contains(pool)
    }

    /// The order's pool.
    pub(super) fn pool_of(&self, order: &LaunchOrder) -> Option<PoolName> {
        let inner = self.inner.lock();
        let tags = inner.templates.get(&(order.id.clone(), order.attempt));
        tags.map(|tags| tags.pool.clone())
    }

    /// The journal was lost: nobody knows any more what there is.
    pub(super) fn forget(&self) {
        let now = self.clock.now();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        inner.forgotten.extend(inner.machines.keys().cloned());
        let unseen = inner.machines.iter().filter(|(_, m)| m.shown_from > now);
        inner.unseen.extend(unseen.map(|(id, _)| id.clone()));
    }

    pub(super) fn was_forgotten(&self, id: &MachineId) -> bool {
        self.inner.lock().forgotten.contains(id)
    }

    /// A request's template, with what its machines are tagged with.
    pub(super) fn render(&self, tags: &Tags, count: u32) -> SecretBytes {
        let key = (tags.order.clone(), tags.attempt);
        self.inner.lock().templates.insert(key, tags.clone());
        SecretBytes::new(format!("{count} machines for {}", tags.order).into_bytes())
    }

    /// Launches as many as `most` of the order's machines; the same order again
    /// gives the same machines.
    pub(super) fn launch(&self, order: &LaunchOrder, most: u32) -> Vec<Launched> {
        let key = (order.id.clone(), order.attempt);
        let mut inner = self.inner.lock();
        if let Some((request, machines)) = inner.launches.get(&key) {
            if *request != order.request {
                self.trace.wrong(format_args!(
                    "P1: order {} is replayed with other bytes",
                    order.id
                ));
            }
            return machines.clone();
        }
        let Some(tags) = inner.templates.get(&key).cloned() else {
            self.trace
                .wrong(format_args!("P1: order {} was never rendered", order.id));
            return Vec::new();
        };
        let mut launched = Vec::new();
        for _ in 0..most {
            let machine = self.start(&mut inner, tags.clone());
            launched.push(machine);
        }
        inner
            .launches
            .insert(key, (order.request.clone(), launched.clone()));
        self.check_limit(&inner, &tags.pool);
        launched
    }

    fn start(&self, inner: &mut Inner, tags: Tags) -> Launched {
        let nth = inner.machines.len() as u64 + 1;
        let id = MachineId::new(format!("sim-{nth}"));
        let [.., b, c, d] = nth.to_be_bytes();
        let address = SocketAddr::from(([127, b, c, d], 9079));
        let now = self.clock.now();
        let lag = self.dice.span(Duration::ZERO, WINDOW);
        let boots = self
            .dice
            .span(Duration::from_secs(1), Duration::from_secs(20));
        self.trace
            .say(format_args!("cloud starts {id} for {}", tags.order));
        let instance = Instance {
            tags,
            address,
            shown_from: now.after(lag),
            ending: None,
            gone: None,
            lag,
        };
        inner.machines.insert(id.clone(), instance);
        self.link.boot(&id, boots);
        let address = Some(address);
        Launched { id, address }
    }

    /// A machine that somebody else has.
    pub(super) fn start_foreign(&self, tags: Tags) -> MachineId {
        self.start(&mut self.inner.lock(), tags).id
    }

    fn check_limit(&self, inner: &Inner, pool: &PoolName) {
        let machines = inner.machines.iter();
        // What a lost journal knew and nobody could see, nobody can count.
        let alive = machines.filter(|(id, machine)| {
            machine.tags.pool == *pool && machine.gone.is_none() && !inner.unseen.contains(*id)
        });
        let alive = alive.count();
        let limit = inner.limits.get(pool).copied().unwrap_or(u32::MAX);
        if alive > usize::try_from(limit).unwrap_or(usize::MAX) {
            self.trace.wrong(format_args!(
                "P7: {alive} machines of {pool} are alive, its limit is {limit}"
            ));
        }
    }

    /// All that is shown of `owner`'s machines now.
    pub(super) fn list(&self, owner: &Owner) -> Vec<Listed> {
        let now = self.clock.now();
        let inner = self.inner.lock();
        let machines = inner.machines.iter();
        machines
            .filter(|(_, machine)| machine.tags.owner == *owner)
            .filter_map(|(id, machine)| {
                Some(Listed {
                    id: id.clone(),
                    tags: machine.tags.clone(),
                    state: machine.shown(now)?,
                    address: Some(machine.address),
                })
            })
            .collect()
    }

    /// Begins to end a machine; says whether it is over already.
    pub(super) fn terminate(&self, id: &MachineId) -> bool {
        let now = self.clock.now();
        let ending = {
            let mut inner = self.inner.lock();
            let Some(machine) = inner.machines.get_mut(id) else {
                return false;
            };
            if machine.gone.is_some() {
                return true;
            }
            let first = machine.ending.is_none();
            machine.ending.get_or_insert(now);
            if self.dice.chance(40) {
                machine.gone = Some(now);
            }
            first
        };
        if ending {
            self.trace.say(format_args!("cloud ends {id}"));
            self.link.kill(id, "the provider ended it");
        }
        self.state(id) == Some(ListedState::Terminated)
    }

    /// Time passes: what is ending ends, and machines that ended themselves are over.
    pub(super) fn tick(&self) {
        let now = self.clock.now();
        let mut over = Vec::new();
        {
            let mut inner = self.inner.lock();
            for (id, machine) in &mut inner.machines {
                if machine.gone.is_some() {
                    continue;
                }
                let ending = machine.ending;
                if ending.is_some_and(|at| at.after(WINDOW * 2) <= now) {
                    machine.gone = Some(now);
                } else if ending.is_none() && self.link.is_over(id) {
                    over.push(id.clone());
                }
            }
        }
        for id in over {
            self.lose(&id, "it ended itself");
        }
    }

    /// The machine as it is.
    pub(super) fn state(&self, id: &MachineId) -> Option<ListedState> {
        self.inner.lock().machines.get(id).map(Instance::state)
    }

    /// Somebody told the cloud to end it.
    pub(super) fn was_ended(&self, id: &MachineId) -> bool {
        let inner = self.inner.lock();
        inner
            .machines
            .get(id)
            .is_some_and(|machine| machine.ending.is_some())
    }

    /// All machines that cost money.
    pub(super) fn alive(&self) -> Vec<(MachineId, Tags)> {
        let inner = self.inner.lock();
        let alive = inner.machines.iter().filter(|(_, m)| m.gone.is_none());
        alive.map(|(id, m)| (id.clone(), m.tags.clone())).collect()
    }

    /// All machines that ever were.
    pub(super) fn ever(&self) -> Vec<MachineId> {
        self.inner.lock().machines.keys().cloned().collect()
    }

    /// A call was made: for the budget (P8).
    pub(super) fn count(&self, call: &'static str) {
        let now = self.clock.now();
        self.inner.lock().calls.entry(call).or_default().push(now);
    }

    /// The most calls of a kind within any `span`.
    pub(super) fn busiest(&self, call: &str, span: Duration) -> usize {
        let inner = self.inner.lock();
        let Some(times) = inner.calls.get(call) else {
            return 0;
        };
        let mut from = 0;
        let mut most = 0;
        for (nth, at) in times.iter().enumerate() {
            while times[from].after(span) <= *at {
                from += 1;
            }
            most = most.max(nth + 1 - from);
        }
        most
    }
}
