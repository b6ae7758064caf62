//! A deployment and its machines, as tests set them up.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lite_engine::enrol::Enrolment;
use lite_engine::identity::Identity;
use lite_engine::listener::{Limits, agent_service, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vmpool_agent::{Agents, Authority, LinkConfig};
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::pool::{Lease, Origin};
use vmpool_core::{
    AgentLink, AgentReport, Attempt, Clock, Health, KeyHash, LinkError, Machine, MachineId,
    OrderId, PinError, PinKey, PoolName, StageId, Term,
};

use crate::certificates::Ca;
use crate::stub::Stub;

/// Far longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Waits for what is to come; a test that waits in vain fails.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LONG, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Waits for a machine's health.
pub(crate) async fn health(
    agents: &Agents,
    id: &MachineId,
    what: &str,
    wanted: impl Fn(&Health) -> bool,
) -> Health {
    let mut health: watch::Receiver<Health> = agents.health(id);
    soon(what, health.wait_for(|health| wanted(health)))
        .await
        .expect("the link is there")
        .clone()
}

/// Times that suit a test on one host.
pub(crate) fn config() -> LinkConfig {
    LinkConfig {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(500),
        dial_pause: Duration::from_millis(5),
        dial_pause_max: Duration::from_millis(50),
        gone_after_refused: Duration::from_millis(500),
        gone_after_silent: Duration::from_secs(2),
        ..LinkConfig::default()
    }
}

/// A deployment of its own.
pub(crate) struct Deployment {
    pub(crate) trust: TempDir,
    pub(crate) authority: Arc<Authority>,
    pub(crate) agents: Agents,
    pub(crate) pins: Pins,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: LinkConfig) -> Self {
        let trust = tempfile::tempdir().expect("a folder");
        let authority = Arc::new(Authority::open_or_create(trust.path()).expect("a deployment"));
        let agents = Agents::new(Arc::clone(&authority), Clocks::default(), config);
        Self {
            trust,
            authority,
            agents,
            pins: Pins::default(),
        }
    }

    /// The same deployment after its runner has restarted: nothing but the
    /// file is left of what it knew.
    pub(crate) fn restarted(&self) -> Agents {
        let authority = Authority::open_or_create(self.trust.path()).expect("the deployment");
        Agents::new(Arc::new(authority), Clocks::default(), config())
    }

    pub(crate) fn ca(&self) -> Ca {
        Ca::read(self.trust.path())
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        self.agents.bootstrap(&order(), Attempt(1))
    }

    /// As the pool opens a machine, under term 1.
    pub(crate) async fn open(&self, machine: Machine) -> Result<AgentReport, LinkError> {
        soon("an answer", self.agents.open(&machine, Term(1), &self.pins)).await
    }

    pub(crate) async fn machine(&self, id: &str) -> Host {
        self.host(id).start().await
    }

    /// A machine that has not booted yet.
    pub(crate) fn host(&self, id: &str) -> Host {
        Host {
            id: MachineId::new(id),
            bootstrap: self.bootstrap(),
            knows_its_id: true,
            limits: Limits {
                grace: Duration::ZERO,
                ..Limits::default()
            },
            folder: Arc::new(tempfile::tempdir().expect("a folder")),
            stub: Stub::default(),
            enrolled: Arc::default(),
            address: None,
            running: None,
        }
    }
}

/// A loopback address that nobody else uses: what was bound there is free
/// again when its listener is gone, whatever ports other tests take.
pub(crate) fn own_ip() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = u8::try_from(std::process::id() % 250).expect("below 250");
    [127, process + 1, high, low].into()
}

pub(crate) fn order() -> OrderId {
    OrderId::new("order-1")
}

/// A machine with a real agent, but for its steps.
pub(crate) struct Host {
    pub(crate) id: MachineId,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) knows_its_id: bool,
    pub(crate) limits: Limits,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) stub: Stub,
    /// How often the agent was told that it is enrolled.
    pub(crate) enrolled: Arc<AtomicUsize>,
    pub(crate) address: Option<SocketAddr>,
    running: Option<Running>,
}

struct Running {
    identity: Identity,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Host {
    pub(crate) async fn start(mut self) -> Self {
        self.boot().await;
        self
    }

    /// Starts the agent, again too: on the same address, with the same files.
    pub(crate) async fn boot(&mut self) {
        let address = self.address.unwrap_or_else(|| (own_ip(), 0).into());
        let listener = TcpListener::bind(address).await.expect("an address");
        self.address = Some(listener.local_addr().expect("an address"));
        let identity = Identity::load_or_create(&self.files(), &self.bootstrap.ca_pem);
        let identity = identity.expect("an identity");
        let machine = self.knows_its_id.then(|| self.id.clone());
        let told = Arc::clone(&self.enrolled);
        let on_enrolled = move || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        let bootstrap = self.bootstrap.clone();
        let runner_name = bootstrap.runner_name.clone();
        let enrolment = Enrolment::new(identity.clone(), bootstrap, machine, on_enrolled);
        self.stub.set_identity(identity.clone());
        let agent = agent_service(self.stub.clone());
        let (limits, stop) = (self.limits.clone(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let serving = stop.clone();
        tasks.spawn(async move {
            let enrolment = Arc::new(enrolment);
            serve(listener, enrolment, &runner_name, agent, limits, serving)
                .await
                .expect("a listener");
        });
        self.running = Some(Running {
            identity,
            stop,
            tasks,
        });
    }

    /// Stops the agent and breaks its connections.
    pub(crate) async fn stop(&mut self) {
        let mut running = self.running.take().expect("a running agent");
        running.stop.cancel();
        soon("the agent's end", running.tasks.join_next())
            .await
            .expect("a task")
            .expect("an end");
    }

    /// As `kill -9`: the agent's tasks are gone from one moment to the next.
    pub(crate) fn kill(&mut self) {
        drop(self.running.take().expect("a running agent"));
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("identity")
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.running.as_ref().expect("a running agent").identity
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a machine that has booted")
    }

    /// As the pool knows it.
    pub(crate) fn machine(&self) -> Machine {
        Machine {
            id: self.id.clone(),
            pool: PoolName::new("pool"),
            order: order(),
            attempt: Attempt(1),
            address: self.address,
            key: None,
        }
    }

    pub(crate) fn lease(&self) -> Lease {
        let now = Clock::system().now();
        Lease::new(
            StageId::new("stage-1"),
            Arc::new(self.machine()),
            Term(1),
            now,
            now.after(Duration::from_hours(1)),
            Origin::Warm,
        )
    }
}

/// The pool's book of keys.
#[derive(Default)]
pub(crate) struct Pins {
    pub(crate) keys: Mutex<HashMap<MachineId, KeyHash>>,
    /// How many writes fail from now on.
    pub(crate) failures: AtomicUsize,
}

impl Pins {
    pub(crate) fn key(&self, id: &MachineId) -> Option<KeyHash> {
        self.keys.lock().expect("no panic").get(id).copied()
    }
}

#[async_trait]
impl PinKey for Pins {
    async fn pin(&self, machine: &MachineId, key: KeyHash) -> Result<(), PinError> {
        let fails = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if fails.is_ok() {
            let reason = "the disk is full".to_owned();
            return Err(PinError::NotWritten {
                machine: machine.clone(),
                reason,
            });
        }
        let mut keys = self.keys.lock().expect("no panic");
        if *keys.entry(machine.clone()).or_insert(key) == key {
            Ok(())
        } else {
            Err(PinError::OtherKey {
                machine: machine.clone(),
            })
        }
    }
}
