//! A provider whose calls never answer, and one that forgets its machines.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use vmpool_core::testkit::{Call, FakeProvider, Fault, FaultPlan};
use vmpool_core::{
    Capabilities, LaunchOrder, LaunchOutcome, Listing, MachineId, OrderDraft, Owner, PoolConfig,
    Provider, ProviderError, SecretBytes, Terminating, journal::MemoryJournal,
};

use crate::harness::World;

const FOR_EVER: Fault = Fault::Delay(Duration::from_hours(24 * 365));

/// A cloud that can forget machines, and that has nothing to tell for ever.
struct Forgetful {
    cloud: Arc<FakeProvider>,
    forgotten: Mutex<HashSet<MachineId>>,
    diagnoses: bool,
}

impl Forgetful {
    fn over(cloud: Arc<FakeProvider>, diagnoses: bool) -> Arc<Self> {
        Arc::new(Self {
            cloud,
            forgotten: Mutex::default(),
            diagnoses,
        })
    }

    fn knows(&self, id: &MachineId) -> bool {
        !self.forgotten.lock().contains(id)
    }
}

#[async_trait]
impl Provider for Forgetful {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            consistency_window: Duration::from_secs(60),
            ..self.cloud.capabilities()
        }
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        self.cloud.render(draft)
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        self.cloud.launch(order).await
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let mut listing = self.cloud.list(owner).await?;
        listing.machines.retain(|listed| self.knows(&listed.id));
        Ok(listing)
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        let known: Vec<_> = ids.iter().filter(|id| self.knows(id)).cloned().collect();
        self.cloud.terminate(&known).await
    }

    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        if self.diagnoses {
            return self.cloud.diagnose(id).await;
        }
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_terminate_call_that_never_answers_holds_no_machine_s_end_up() {
    let config = PoolConfig::new("linux", 0, 2);
    let plan = FaultPlan::none().at(Call::Terminate, 1, FOR_EVER);
    let world = World::with(config, plan).await;
    world.lease("build-1").await;
    world.lease("build-2").await;
    world.release("build-1").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.release("build-2").await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.until("gone", |s| s.machines.is_empty()).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_listing_that_never_answers_is_asked_for_again() {
    let config = PoolConfig::new("linux", 1, 1);
    let plan = FaultPlan::none()
        .always(Call::Launch, Fault::LoseAnswer)
        .at(Call::List, 1, FOR_EVER)
        .at(Call::List, 2, FOR_EVER);
    let world = World::with(config, plan).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.ready(1).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_listing_that_never_answers_keeps_no_claimed_machine_unconnected() {
    let config = PoolConfig::new("linux", 0, 1);
    let world = World::with(config, FaultPlan::none()).await;
    let lease = world.lease("build-1").await;
    let plan = FaultPlan::none().always(Call::List, FOR_EVER);
    world.provider.set_plan(plan);
    world.link.lose(lease.machine_id(), "connection reset");
    tokio::time::sleep(Duration::from_secs(61)).await;
    world
        .until("reconnected", |_| {
            world.link.is_answering(lease.machine_id())
        })
        .await;
    assert_eq!(world.status().claimed, 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_diagnosis_that_never_comes_keeps_no_sick_machine() {
    let config = PoolConfig::new("linux", 1, 2);
    let journal = Arc::new(MemoryJournal::new());
    let world = World::over(config, FaultPlan::none(), journal, |cloud| {
        Forgetful::over(cloud, false)
    })
    .await;
    world.ready(1).await;
    let sick = world.status().machines[0].id.clone();
    world.link.lose(&sick, "its agent was killed");
    world
        .until("replaced", |status| {
            status.ready == 1 && status.machines.iter().all(|m| m.id != sick)
        })
        .await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p1_p7_a_machine_that_the_provider_has_forgotten_is_proven_absent() {
    let config = PoolConfig::new("linux", 0, 1);
    let journal = Arc::new(MemoryJournal::new());
    let mut forgetful = None;
    let world = World::over(config, FaultPlan::none(), journal, |cloud| {
        forgetful.insert(Forgetful::over(cloud, true)).clone()
    })
    .await;
    let forgetful = forgetful.expect("it was made");
    let lease = world.lease("build-1").await;
    let id = lease.machine_id().clone();
    forgetful.forgotten.lock().insert(id.clone());
    world.provider.kill(&id);
    world.release("build-1").await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(
        world.status().machines.len(),
        1,
        "a listing within the consistency window proves nothing"
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.until("gone", |s| s.machines.is_empty()).await;
    world.lease("build-2").await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_machines_that_never_become_ready_are_ordered_ever_more_rarely() {
    let mut config = PoolConfig::new("linux", 1, 2);
    // The agents' connections take longer than their boot may.
    config.deadlines.booting = Duration::from_secs(1);
    let world = World::with(config, FaultPlan::none()).await;
    world.link.never_answer(true);
    tokio::time::sleep(Duration::from_hours(1)).await;
    let launches = world.provider.calls(Call::Launch);
    assert!(
        (10..=90).contains(&launches),
        "{launches} launches in an hour"
    );
    world.link.never_answer(false);
    // The longest pause of an open breaker.
    tokio::time::sleep(Duration::from_mins(5)).await;
    world.ready(1).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_pool_of_stages_as_long_as_a_machine_s_life_does_not_replace_it_all_the_time() {
    let mut config = PoolConfig::new("linux", 1, 2);
    config.max_age = Duration::from_hours(24);
    config.deadlines.stage = Duration::from_hours(48);
    let world = World::with(config, FaultPlan::none()).await;
    tokio::time::sleep(Duration::from_hours(23)).await;
    world.ready(1).await;
    assert_eq!(world.provider.launched(), 2);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn p8_a_connection_that_breaks_each_time_is_not_opened_without_a_pause() {
    let world = World::new(0, 1).await;
    let lease = world.lease("build-1").await;
    let before = world.provider.calls(Call::List);
    let breaks = async {
        loop {
            if world.link.is_answering(lease.machine_id()) {
                world.link.lose(lease.machine_id(), "connection reset");
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(60), breaks).await;
    let lists = world.provider.calls(Call::List) - before;
    assert!((5..60).contains(&lists), "{lists} listings in a minute");
    world.end().await;
}
