//! Machines from a source of your own: here a rack with a few numbered hosts.
//!
//! A provider keeps no books of its own: the pool writes down what it orders
//! before it asks, and asks again whenever it did not hear the answer. So each
//! call must be repeatable, and the same order must give the same machines.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use vmpool_core::journal::MemoryJournal;
use vmpool_core::pool::PoolParts;
use vmpool_core::testkit::SimLink;
use vmpool_core::{
    AcquireRequest, Attempt, Capabilities, Clock, ErrorKind, LaunchOrder, LaunchOutcome, Launched,
    Listed, ListedState, Listing, MachineId, OrderDraft, OrderId, Owner, Pool, PoolConfig,
    Provider, ProviderError, SecretBytes, Tags, Terminating, WarmPool,
};

/// Hosts of the rack; each is one machine while it is switched on.
const HOSTS: u8 = 3;

#[derive(Debug)]
struct Rack {
    clock: Clock,
    hosts: Mutex<BTreeMap<u8, Running>>,
    /// What `render` was told; a real rack would have it in the request's bytes.
    tags: Mutex<BTreeMap<(OrderId, Attempt), Tags>>,
}

#[derive(Debug)]
struct Running {
    tags: Tags,
    boot: u64,
}

impl Rack {
    fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            hosts: Mutex::default(),
            tags: Mutex::default(),
        })
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, BTreeMap<u8, Running>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host that is switched on again is another machine: the id has its boot's time.
fn id_of(host: u8, running: &Running) -> MachineId {
    MachineId::new(format!("rack-{host}-{}", running.boot))
}

fn address_of(host: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 9079))
}

#[async_trait]
impl Provider for Rack {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_batch: 1,
            suspend: false,
            spot: false,
            consistency_window: Duration::ZERO,
            spec: "rack".into(),
            places: Vec::new(),
        }
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.insert(
            (draft.tags.order.clone(), draft.tags.attempt),
            draft.tags.clone(),
        );
        Ok(SecretBytes::new(draft.bootstrap.secret.expose()))
    }

    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        let attempted = || format!("switch on {} hosts", order.count);
        let mut hosts = self.hosts();
        // The same order again: the same machine again.
        let known = hosts.iter().find(|(_, running)| {
            running.tags.order == order.id && running.tags.attempt == order.attempt
        });
        if let Some((host, running)) = known {
            let launched = Launched {
                id: id_of(*host, running),
                address: Some(address_of(*host)),
            };
            return LaunchOutcome {
                machines: vec![launched],
                ..LaunchOutcome::default()
            };
        }
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let tags = tags.get(&(order.id.clone(), order.attempt)).cloned();
        let free = (1..=HOSTS).find(|host| !hosts.contains_key(host));
        let (Some(host), Some(tags)) = (free, tags) else {
            let error = ProviderError::new(ErrorKind::NoCapacity, attempted());
            return LaunchOutcome {
                refused: vec![(order.count, error)],
                ..LaunchOutcome::default()
            };
        };
        let running = Running {
            tags,
            boot: self.clock.now().0,
        };
        let launched = Launched {
            id: id_of(host, &running),
            address: Some(address_of(host)),
        };
        hosts.insert(host, running);
        LaunchOutcome {
            machines: vec![launched],
            ..LaunchOutcome::default()
        }
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let begun_at = self.clock.now();
        let hosts = self.hosts();
        let ours = hosts
            .iter()
            .filter(|(_, running)| running.tags.owner == *owner);
        let machines = ours.map(|(host, running)| Listed {
            id: id_of(*host, running),
            tags: running.tags.clone(),
            state: ListedState::Alive,
            address: Some(address_of(*host)),
        });
        Ok(Listing {
            begun_at,
            complete: true,
            machines: machines.collect(),
        })
    }

    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        self.hosts()
            .retain(|host, running| !ids.contains(&id_of(*host, running)));
        // Switched off for certain, also those that were off before.
        Ok(Terminating { gone: ids.to_vec() })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let clock = Clock::system();
    let rack = Rack::new(clock);
    let parts = PoolParts::new(
        rack.clone(),
        SimLink::new(clock),
        Arc::new(MemoryJournal::new()),
        clock,
    );
    let pool = WarmPool::start(PoolConfig::new("rack", 1, HOSTS.into()), parts).await?;
    for build in 1..=5 {
        let lease = pool
            .acquire(AcquireRequest::new(format!("build-{build}")))
            .await?;
        println!("build {build} has {}", lease.machine_id());
        pool.release(lease.stage()).await?;
    }
    let left = pool.shutdown(Duration::from_secs(60)).await;
    anyhow::ensure!(
        left.is_empty() && rack.hosts().is_empty(),
        "hosts are left on: {left:?}"
    );
    Ok(())
}
