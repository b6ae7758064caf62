//! A provider whose cloud is a map.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::{Call, Fault, FaultPlan};
use super::stock::Stock;
use crate::clock::Clock;
use crate::id::{Attempt, MachineId, OrderId, Owner};
use crate::provider::{
    Capabilities, ErrorKind, LaunchOrder, LaunchOutcome, Launched, Listed, ListedState, Listing,
    OrderDraft, Place, Provider, ProviderError, Tags, Terminating,
};
use crate::secret::SecretBytes;

/// Keeps its promises to the letter, except where its [`FaultPlan`] says otherwise.
#[derive(Debug)]
pub struct FakeProvider {
    clock: Clock,
    capabilities: Capabilities,
    cloud: Mutex<Cloud>,
    dead: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Cloud {
    machines: BTreeMap<MachineId, Listed>,
    launches: HashMap<(OrderId, Attempt), (SecretBytes, Vec<Launched>)>,
    templates: HashMap<(OrderId, Attempt), Template>,
    plan: FaultPlan,
    stock: Stock,
    calls: HashMap<Call, Vec<Instant>>,
    launched_in: HashMap<Place, usize>,
    next: u64,
    most: usize,
    terminates_late: bool,
}

/// What an order's request was rendered to.
#[derive(Debug, Clone)]
struct Template {
    tags: Tags,
    /// Where its machines are to be: the first place that it does not avoid.
    place: Option<Place>,
}

impl FakeProvider {
    /// A cloud in which nothing goes wrong.
    pub fn new(clock: Clock) -> Arc<Self> {
        Self::with_plan(clock, FaultPlan::none())
    }

    /// A cloud in which `plan` goes wrong.
    pub fn with_plan(clock: Clock, plan: FaultPlan) -> Arc<Self> {
        Self::in_places(clock, plan, Vec::new())
    }

    /// A cloud whose machines can be in any of `places`: all of an order's in
    /// the first of them that the order does not avoid.
    pub fn in_places(clock: Clock, plan: FaultPlan, places: Vec<Place>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            capabilities: Capabilities {
                max_batch: 100,
                suspend: false,
                spot: false,
                consistency_window: Duration::ZERO,
                spec: "fake".into(),
                places,
            },
            cloud: Mutex::new(Cloud {
                plan,
                ..Cloud::default()
            }),
            dead: watch::Sender::new(false),
        })
    }

    /// Goes on with another plan; the calls are counted on.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.cloud.lock().plan = plan;
    }

    /// While `short`, the place has no capacity.
    pub fn set_short(&self, place: &Place, short: bool) {
        self.cloud.lock().stock.set_short(place, short);
    }

    /// From now on the cloud answers at most so many calls within each span of
    /// `per`, and throttles the others with its word on when to come back.
    pub fn answer_at_most(&self, call: Call, most: usize, per: Duration) {
        self.cloud.lock().stock.limit(call, most, per);
    }

    /// From now on a terminate call only begins the end; [`FakeProvider::finish_endings`] ends it.
    pub fn terminate_late(&self) {
        self.cloud.lock().terminates_late = true;
    }

    /// What is ending is over now.
    pub fn finish_endings(&self) {
        let mut cloud = self.cloud.lock();
        let ending = cloud
            .machines
            .values_mut()
            .filter(|m| m.state == ListedState::Ending);
        ending.for_each(|machine| machine.state = ListedState::Terminated);
    }

    /// Answers again after [`Fault::Die`].
    pub fn revive(&self) {
        self.dead.send_replace(false);
    }

    /// The cloud takes a machine away without being asked.
    pub fn kill(&self, id: &MachineId) {
        if let Some(machine) = self.cloud.lock().machines.get_mut(id) {
            machine.state = ListedState::Terminated;
        }
    }

    /// The cloud shows this machine from now on, whoever launched it.
    pub fn show(&self, machine: Listed) {
        let mut cloud = self.cloud.lock();
        cloud.machines.insert(machine.id.clone(), machine);
    }

    /// The cloud knows nothing of the machine any more; how it showed it before.
    pub fn forget(&self, id: &MachineId) -> Option<Listed> {
        self.cloud.lock().machines.remove(id)
    }

    /// Machines that cost money.
    pub fn alive(&self) -> Vec<MachineId> {
        let cloud = self.cloud.lock();
        let alive = cloud
            .machines
            .values()
            .filter(|m| m.state != ListedState::Terminated);
        alive.map(|machine| machine.id.clone()).collect()
    }

    /// Machines that were ever launched.
    pub fn launched(&self) -> usize {
        self.cloud.lock().machines.len()
    }

    /// The most machines that were alive at the same time.
    pub fn most_alive(&self) -> usize {
        self.cloud.lock().most
    }

    /// Machines that were ever launched there.
    pub fn launched_in(&self, place: &Place) -> usize {
        let cloud = self.cloud.lock();
        cloud.launched_in.get(place).copied().unwrap_or(0)
    }

    /// How often `call` was made.
    pub fn calls(&self, call: Call) -> u64 {
        let cloud = self.cloud.lock();
        cloud.calls.get(&call).map_or(0, |made| made.len() as u64)
    }

    /// When each `call` was made, the first one first.
    pub fn made(&self, call: Call) -> Vec<Instant> {
        let cloud = self.cloud.lock();
        cloud.calls.get(&call).cloned().unwrap_or_default()
    }

    /// Counts the call and carries out what its fault says of the time before it.
    async fn begin(&self, call: Call) -> Option<Fault> {
        self.wait_while_dead().await;
        let fault = {
            let mut cloud = self.cloud.lock();
            let now = Instant::now();
            let made = cloud.calls.entry(call).or_default();
            made.push(now);
            let nth = made.len() as u64;
            let throttled = cloud.stock.throttled(call, now).map(|left| {
                let retry_after = Some(left);
                Fault::Fail(ErrorKind::Throttled { retry_after })
            });
            throttled.or_else(|| cloud.plan.fault(call, nth))
        };
        assert!(fault != Some(Fault::Panic), "the plan asks for a bug here");
        if let Some(Fault::Delay(span)) = fault {
            tokio::time::sleep(span).await;
        }
        fault
    }

    /// Carries out what the fault says of the time after the call.
    async fn end(&self, fault: Option<Fault>) {
        if fault == Some(Fault::Die) {
            self.dead.send_replace(true);
            self.wait_while_dead().await;
        }
    }

    async fn wait_while_dead(&self) {
        // The sender lives as long as `self`.
        let _ = self.dead.subscribe().wait_for(|dead| !dead).await;
    }
}

impl Cloud {
    /// The place that the order asks for and that has no capacity.
    fn short_place(&self, order: &LaunchOrder) -> Option<Place> {
        let key = (order.id.clone(), order.attempt);
        if self.launches.contains_key(&key) {
            return None;
        }
        let place = self.templates.get(&key)?.place.clone();
        place.filter(|place| self.stock.is_short(place))
    }

    fn launch(&mut self, order: &LaunchOrder, count: u32) -> Vec<Launched> {
        let key = (order.id.clone(), order.attempt);
        if let Some((request, machines)) = self.launches.get(&key) {
            assert_eq!(*request, order.request, "a replay sends the same bytes");
            return machines.clone();
        }
        let Template { tags, place } = self
            .templates
            .get(&key)
            .expect("an order is rendered first")
            .clone();
        if let Some(place) = place {
            *self.launched_in.entry(place).or_default() += count as usize;
        }
        let mut machines = Vec::new();
        for _ in 0..count {
            self.next += 1;
            let [.., b, c, d] = self.next.to_be_bytes();
            let address = SocketAddr::from(([127, b, c, d], 9079));
            let id = MachineId::new(format!("fake-{}", self.next));
            let state = ListedState::Alive;
            let address = Some(address);
            machines.push(Launched {
                id: id.clone(),
                address,
            });
            self.machines.insert(
                id.clone(),
                Listed {
                    id,
                    tags: tags.clone(),
                    state,
                    address,
                },
            );
        }
        let alive = self
            .machines
            .values()
            .filter(|m| m.state != ListedState::Terminated)
            .count();
        self.most = self.most.max(alive);
        self.launches
            .insert(key, (order.request.clone(), machines.clone()));
        machines
    }
}

#[async_trait]
impl Provider for FakeProvider {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        let key = (draft.tags.order.clone(), draft.tags.attempt);
        let places = &self.capabilities.places;
        let open = || places.iter().filter(|place| !draft.avoid.contains(place));
        let wished = |place: &&Place| draft.zone == Some(&*place.zone);
        let template = Template {
            tags: draft.tags.clone(),
            place: open().find(wished).or_else(|| open().next()).cloned(),
        };
        self.cloud.lock().templates.insert(key, template);
        let text = format!("{} machines for {}", draft.count, draft.tags.order);
        Ok(SecretBytes::new(text.into_bytes()))
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        let attempted = || format!("launch {} machines", order.count);
        let fault = self.begin(Call::Launch).await;
        let mut outcome = LaunchOutcome::default();
        let short = self.cloud.lock().short_place(order);
        if let (None, Some(place)) = (fault, short) {
            let error = ProviderError::new(ErrorKind::NoCapacity, attempted());
            outcome.refused.push((order.count, error.at(place)));
            return outcome;
        }
        match fault {
            Some(Fault::Fail(kind)) => {
                outcome
                    .refused
                    .push((order.count, ProviderError::new(kind, attempted())));
                return outcome;
            }
            Some(Fault::Partial(most)) if most < order.count => {
                outcome.machines = self.cloud.lock().launch(order, most);
                let error = ProviderError::new(ErrorKind::NoCapacity, attempted());
                outcome.refused.push((order.count - most, error));
            }
            _ => outcome.machines = self.cloud.lock().launch(order, order.count),
        }
        self.end(fault).await;
        if fault == Some(Fault::LoseAnswer) {
            let error = ProviderError::new(ErrorKind::Transient, attempted());
            return LaunchOutcome {
                unknown: Some((order.count, error)),
                ..LaunchOutcome::default()
            };
        }
        outcome
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let begun_at = self.clock.now();
        let fault = self.begin(Call::List).await;
        let attempted = format!("list the machines of {owner}");
        if let Some(Fault::Fail(kind)) = fault {
            return Err(ProviderError::new(kind, attempted));
        }
        let machines: Vec<Listed> = {
            let cloud = self.cloud.lock();
            cloud
                .machines
                .values()
                .filter(|m| m.tags.owner == *owner)
                .cloned()
                .collect()
        };
        self.end(fault).await;
        if fault == Some(Fault::LoseAnswer) {
            return Err(ProviderError::new(ErrorKind::Transient, attempted));
        }
        Ok(Listing {
            begun_at,
            complete: true,
            machines,
        })
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        let fault = self.begin(Call::Terminate).await;
        let attempted = || format!("terminate {} machines", ids.len());
        if let Some(Fault::Fail(kind)) = fault {
            return Err(ProviderError::new(kind, attempted()));
        }
        let mut answer = Terminating::default();
        {
            let mut cloud = self.cloud.lock();
            let late = cloud.terminates_late;
            for id in ids {
                let Some(machine) = cloud.machines.get_mut(id) else {
                    continue;
                };
                if !late {
                    machine.state = ListedState::Terminated;
                } else if machine.state == ListedState::Alive {
                    machine.state = ListedState::Ending;
                }
                if machine.state == ListedState::Terminated {
                    answer.gone.push(id.clone());
                }
            }
        }
        self.end(fault).await;
        if fault == Some(Fault::LoseAnswer) {
            return Err(ProviderError::new(ErrorKind::Transient, attempted()));
        }
        Ok(answer)
    }

    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        if let Some(Fault::Fail(_)) = self.begin(Call::Diagnose).await {
            return None;
        }
        let cloud = self.cloud.lock();
        cloud
            .machines
            .get(id)
            .map(|machine| format!("the cloud shows it as {:?}", machine.state))
    }
}
