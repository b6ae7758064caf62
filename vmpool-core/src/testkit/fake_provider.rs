//! A provider whose cloud is a map.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::faults::{Call, Fault, FaultPlan};
use crate::clock::Clock;
use crate::id::{Attempt, MachineId, OrderId, Owner};
use crate::provider::{
    Capabilities, ErrorKind, LaunchOrder, LaunchOutcome, Launched, Listed, ListedState, Listing,
    OrderDraft, Provider, ProviderError, Tags, Terminating,
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
    templates: HashMap<(OrderId, Attempt), Tags>,
    plan: FaultPlan,
    calls: HashMap<Call, u64>,
    next: u64,
    most: usize,
    terminates_late: bool,
}

impl FakeProvider {
    /// A cloud in which nothing goes wrong.
    pub fn new(clock: Clock) -> Arc<Self> {
        Self::with_plan(clock, FaultPlan::none())
    }

    /// A cloud in which `plan` goes wrong.
    pub fn with_plan(clock: Clock, plan: FaultPlan) -> Arc<Self> {
        Arc::new(Self {
            clock,
            capabilities: Capabilities {
                max_batch: 100,
                suspend: false,
                spot: false,
                consistency_window: Duration::ZERO,
                spec: "fake".into(),
                places: Vec::new(),
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

    /// How often `call` was made.
    pub fn calls(&self, call: Call) -> u64 {
        self.cloud.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Counts the call and carries out what its fault says of the time before it.
    async fn begin(&self, call: Call) -> Option<Fault> {
        self.wait_while_dead().await;
        let fault = {
            let mut cloud = self.cloud.lock();
            let nth = cloud.calls.entry(call).or_default();
            *nth += 1;
            let nth = *nth;
            cloud.plan.fault(call, nth)
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
    fn launch(&mut self, order: &LaunchOrder, count: u32) -> Vec<Launched> {
        let key = (order.id.clone(), order.attempt);
        if let Some((request, machines)) = self.launches.get(&key) {
            assert_eq!(*request, order.request, "a replay sends the same bytes");
            return machines.clone();
        }
        let tags = self
            .templates
            .get(&key)
            .expect("an order is rendered first")
            .clone();
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
        self.cloud.lock().templates.insert(key, draft.tags.clone());
        let text = format!("{} machines for {}", draft.count, draft.tags.order);
        Ok(SecretBytes::new(text.into_bytes()))
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        let attempted = || format!("launch {} machines", order.count);
        let fault = self.begin(Call::Launch).await;
        let mut outcome = LaunchOutcome::default();
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
        let cloud = self.cloud.lock();
        cloud
            .machines
            .get(id)
            .map(|machine| format!("the cloud shows it as {:?}", machine.state))
    }
}
