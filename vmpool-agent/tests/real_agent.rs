//! Runner against the whole agent: TLS, rules, and steps that are processes.
//!
//! A test with a main of its own, because the agent holds steps by processes
//! of its own program, which is this one. `cargo test --test real_agent NAME`
//! runs the scenarios whose name has NAME in it.

#[path = "agents/certificates.rs"]
mod certificates;
#[path = "real_agent/port.rs"]
mod port;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lite_engine::config::AgentConfig;
use lite_engine::identity::Identity;
use lite_engine::notices::Endpoint;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vmpool_agent::{AgentExecutor, Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::agent::enrolment::machine_name;
use vmpool_core::pool::Origin;
use vmpool_core::{
    AgentLink, Attempt, Clock, ExecutorError, KeyHash, Lease, LogSink, LogSinkError, Machine,
    MachineId, NoticeKind, OrderId, PinError, PinKey, PoolName, Secret, StageId, StageSetup, Step,
    StepExecutor, StepId, StepStatus, Term, Timestamp,
};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_mins(2);

fn main() {
    lite_engine::holder::run_holder_if_asked();
    let wanted = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    run("a_stage_runs_its_steps_and_leaves_nothing", &wanted, stage);
    run("p4_a_step_outlives_its_agent", &wanted, restart);
    run(
        "p2_a_machine_serves_one_stage_and_its_latest_runner",
        &wanted,
        fence,
    );
    run(
        "p12_an_expired_certificate_is_renewed_by_a_later_runner",
        &wanted,
        renewal,
    );
    run(
        "p2_p12_the_incumbents_json_is_served_beside_grpc_on_one_connection",
        &wanted,
        port::beside,
    );
    run(
        "p12_only_runners_of_the_deployment_are_served_whatever_they_speak",
        &wanted,
        port::strangers,
    );
    run(
        "p11_p12_a_step_that_reads_the_whole_disk_can_not_act_as_the_runner",
        &wanted,
        port::thief,
    );
    run(
        "p6_what_the_metadata_service_says_comes_to_every_runner",
        &wanted,
        notices,
    );
}

fn run<F: Future<Output = ()>>(name: &str, wanted: &str, scenario: impl FnOnce() -> F) {
    if name.contains(wanted) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        let ended = runtime.block_on(async { timeout(LONG, scenario()).await });
        ended.unwrap_or_else(|_| panic!("{name} takes too long"));
        println!("test {name} ... ok");
    }
}

async fn stage() {
    let world = World::new();
    let mut agent = world.boot();
    let executor = world.opened(Term(1)).await;
    let lease = world.lease("stage-1", Term(1));
    let setup = StageSetup {
        secrets: vec![Secret::new("hush-hush")],
        ..StageSetup::default()
    };
    executor.prepare(&lease, &setup).await.expect("prepared");

    let mut sink = Sink::default();
    let step = Step::shell("one", "echo hello; echo hush-hush; exit 3");
    let outcome = executor
        .run(&lease, &step, &mut sink)
        .await
        .expect("an outcome");
    assert_eq!(outcome.status, StepStatus::Exited { code: 3 });
    assert_eq!(outcome.log_end, sink.log.len() as u64);
    assert!(sink.text().starts_with("hello\n"), "{}", sink.text());
    assert!(!sink.text().contains("hush-hush"), "P11: {}", sink.text());

    let log = sink.log.clone();
    let again = executor.run(&lease, &step, &mut sink).await;
    assert_eq!(again.expect("P9: the same outcome"), outcome);
    assert_eq!(sink.log, log, "and nothing of its log again");
    let other = Step::shell("one", "echo other");
    let error = executor
        .run(&lease, &other, &mut Sink::default())
        .await
        .expect_err("P5");
    assert_eq!(
        error.to_string(),
        "step one was given before with another command"
    );

    let mut sink = Sink::default();
    let step = Step::shell("two", "echo sleeping; sleep 1000");
    let slept = sink.shared.clone();
    let cancel = async {
        slept.until("sleeping\n").await;
        executor
            .cancel(&lease, &StepId::new("two"))
            .await
            .expect("cancelled");
    };
    let (outcome, ()) = tokio::join!(executor.run(&lease, &step, &mut sink), cancel);
    assert_eq!(outcome.expect("an outcome").status, StepStatus::Cancelled);
    executor.cleanup(&lease).await.expect("cleaned up");
    let late = executor
        .run(&lease, &Step::shell("three", "true"), &mut Sink::default())
        .await;
    let error = late.expect_err("the stage is over");
    assert!(matches!(error, ExecutorError::Refused { .. }), "{error}");
    agent.stop().await;
}

async fn restart() {
    let world = World::new();
    let mut agent = world.boot();
    let executor = world.opened(Term(1)).await;
    let lease = world.lease("stage-1", Term(1));
    executor
        .prepare(&lease, &StageSetup::default())
        .await
        .expect("prepared");
    let go = world.folder.path().join("go");
    let script = format!(
        "echo before; while [ ! -e {} ]; do sleep 0.01; done; echo after; exit 5",
        go.display()
    );
    let mut sink = Sink::default();
    let seen = sink.shared.clone();
    let step = Step::shell("s", script);
    let restart = async {
        seen.until("before\n").await;
        agent.stop().await;
        std::fs::write(&go, "").expect("written");
        agent = world.boot();
    };
    let (outcome, ()) = tokio::join!(executor.run(&lease, &step, &mut sink), restart);
    assert_eq!(
        outcome.expect("an outcome").status,
        StepStatus::Exited { code: 5 }
    );
    assert_eq!(sink.text(), "before\nafter\n");
    executor.cleanup(&lease).await.expect("cleaned up");
    agent.stop().await;
}

async fn fence() {
    let world = World::new();
    let mut agent = world.boot();
    let executor = world.opened(Term(5)).await;
    let lease = world.lease("stage-1", Term(5));
    executor
        .prepare(&lease, &StageSetup::default())
        .await
        .expect("prepared");
    let other = world.lease("stage-2", Term(5));
    let error = executor
        .prepare(&other, &StageSetup::default())
        .await
        .expect_err("one stage");
    assert!(
        error.to_string().contains("serves stage stage-1"),
        "{error}"
    );

    let later = world.runner();
    let report = later
        .open(&world.machine(), Term(6), &world.pins)
        .await
        .expect("a take-over");
    assert_eq!(report.stage, Some(StageId::new("stage-1")));
    let error = executor
        .prepare(&lease, &StageSetup::default())
        .await
        .expect_err("overruled");
    assert!(
        error.to_string().contains("it obeys term 6, ours is 5"),
        "{error}"
    );
    let error = world
        .agents
        .renew(&world.id, Term(5))
        .await
        .expect_err("overruled");
    assert!(error.to_string().contains("obeys term 6"), "{error}");
    later.shutdown().await;
    agent.stop().await;
}

async fn renewal() {
    let world = World::new();
    let mut agent = world.boot();
    world.opened(Term(1)).await;
    agent.stop().await;
    let identity = world.folder.path().join("state/identity");
    let ca_pem = world.agents.bootstrap(&order(), Attempt(1)).ca_pem;
    let identity = Identity::load_or_create(&identity, &ca_pem).expect("its identity");
    identity
        .install(&world.expired(), &machine_name(&world.id))
        .expect("it is the machine's");
    let mut agent = world.boot();
    let later = world.runner();
    let known = Machine {
        key: world.pins.key(&world.id),
        ..world.machine()
    };
    let report = later
        .open(&known, Term(2), &world.pins)
        .await
        .expect("renewed, then opened");
    assert_eq!(report.term, Some(Term(2)));
    later.shutdown().await;
    agent.stop().await;
}

async fn notices() {
    let mut world = World::new();
    let said = Arc::new(tokio::sync::watch::Sender::new(None));
    let (endpoint, _service) = metadata_service(said.clone()).await;
    world.metadata = Some(endpoint);
    let mut agent = world.boot();
    world.opened(Term(1)).await;
    let mut notices = world.agents.notices(&world.id);
    let heard = Clock::system().now();
    assert_eq!(*notices.borrow(), None, "there is nothing to tell");

    let facts = world.agents.facts(&world.id).await.expect("it is there");
    assert!((0.0..=100.0).contains(&facts.cpu_pct), "{facts:?}");
    assert!(facts.memory_available <= facts.memory_total, "{facts:?}");
    assert!(facts.memory_total > 0 && facts.disk_total > 0, "{facts:?}");

    said.send_replace(Some("2017-09-18T08:22:00Z"));
    let told = notices.wait_for(Option::is_some).await;
    let told = told.expect("a link").clone().expect("a notice");
    assert_eq!(told.kind, NoticeKind::SpotInterruption);
    assert_eq!(told.acts_at, Some(Timestamp(1_505_722_920_000)));
    assert_eq!(told.action, "terminate");
    assert!(told.at >= heard, "when it was first read");

    // Another runner hears it when it comes, and the first one's leaving is
    // nothing to it; nor is it to the agent, which stops with a watcher there.
    let later = world.runner();
    let opened = later.open(&world.machine(), Term(2), &world.pins).await;
    opened.expect("a take-over");
    world.agents.shutdown().await;
    let mut notices = later.notices(&world.id);
    let again = notices.wait_for(Option::is_some).await;
    assert_eq!(again.expect("a link").clone(), Some(told));
    agent.stop().await;
    let mut health = later.health(&world.id);
    let lost = health.wait_for(|health| !health.is_answering()).await;
    lost.expect("a link");
    later.shutdown().await;
}

/// The metadata service of a spot instance that ends at what is `said`.
async fn metadata_service(
    said: Arc<tokio::sync::watch::Sender<Option<&'static str>>>,
) -> (Endpoint, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let at = listener.local_addr().expect("a port");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let said = said.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let token = request.headers().get("x-aws-ec2-metadata-token");
                let is_known = token.is_some_and(|token| token == "a token");
                let answer = match (request.method(), request.uri().path(), *said.borrow()) {
                    (&Method::PUT, "/latest/api/token", _) => Ok("a token".to_owned()),
                    _ if !is_known => Err(StatusCode::UNAUTHORIZED),
                    (_, "/latest/meta-data/spot/instance-action", Some(time)) => {
                        Ok(format!(r#"{{"action": "terminate", "time": "{time}"}}"#))
                    }
                    _ => Err(StatusCode::NOT_FOUND),
                };
                let mut response = Response::new(answer.clone().unwrap_or_default());
                *response.status_mut() = answer.err().unwrap_or(StatusCode::OK);
                async { Ok::<_, Infallible>(response) }
            });
            let io = TokioIo::new(stream);
            let _ = http1::Builder::new().serve_connection(io, answer).await;
        }
    });
    let endpoint = format!("http://{at}").parse();
    (endpoint.expect("an endpoint"), tasks)
}

fn order() -> OrderId {
    OrderId::new("order-1")
}

/// A deployment with one machine.
struct World {
    folder: TempDir,
    id: MachineId,
    /// The machine's port, which outlives its agents.
    listener: TcpListener,
    agents: Agents,
    pins: Pins,
    metadata: Option<Endpoint>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let agents = runner(&folder.path().join("trust"));
        let (id, pins) = (MachineId::new("m-1"), Pins::default());
        Self {
            folder,
            id,
            listener,
            agents,
            pins,
            metadata: None,
        }
    }

    /// Another runner of the deployment, which knows nothing yet.
    fn runner(&self) -> Agents {
        runner(&self.folder.path().join("trust"))
    }

    async fn opened(&self, term: Term) -> AgentExecutor {
        self.agents
            .open(&self.machine(), term, &self.pins)
            .await
            .expect("a connection");
        AgentExecutor::new(self.agents.clone())
    }

    /// Starts the agent, again too.
    fn boot(&self) -> Running {
        let state_dir = self.folder.path().join("state");
        std::fs::create_dir_all(&state_dir).expect("a folder");
        let config = AgentConfig {
            machine: self.id.clone(),
            bootstrap: self.agents.bootstrap(&order(), Attempt(1)),
            state_dir,
            listener: self.listener.try_clone().expect("the machine's port"),
            metadata: self.metadata.clone(),
            start_up: None,
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let serving = lite_engine::serve(config, stop.clone());
        tasks.spawn(async move {
            serving.await.expect("an agent");
        });
        Running { stop, tasks }
    }

    fn machine(&self) -> Machine {
        Machine {
            id: self.id.clone(),
            pool: PoolName::new("pool"),
            order: order(),
            attempt: Attempt(1),
            address: self.listener.local_addr().ok(),
            key: None,
        }
    }

    fn lease(&self, stage: &str, term: Term) -> Lease {
        let (now, machine) = (Clock::system().now(), Arc::new(self.machine()));
        let deadline = now.after(Duration::from_hours(1));
        Lease::new(
            StageId::new(stage),
            machine,
            term,
            now,
            deadline,
            Origin::Warm,
        )
    }

    /// The machine's certificate as it would be after its week.
    fn expired(&self) -> Vec<u8> {
        let key = std::fs::read(self.folder.path().join("state/identity/key.pem"));
        let key = pem::parse(key.expect("the file")).expect("PEM");
        let key = rcgen::KeyPair::try_from(key.contents()).expect("a key");
        let end = SystemTime::now() - Duration::from_hours(1);
        let ca = certificates::Ca::read(&self.folder.path().join("trust"));
        let name = machine_name(&self.id);
        ca.machine(
            &name,
            &rcgen::PublicKeyData::subject_public_key_info(&key),
            end,
        )
    }
}

fn runner(trust: &Path) -> Agents {
    let authority = Authority::open_or_create(trust).expect("a deployment");
    Agents::new(
        Arc::new(authority),
        Clocks::default(),
        LinkConfig::default(),
    )
}

/// An agent at work.
struct Running {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    async fn stop(&mut self) {
        self.stop.cancel();
        self.tasks
            .join_next()
            .await
            .expect("a task")
            .expect("an end");
    }
}

#[derive(Default)]
struct Pins(Mutex<HashMap<MachineId, KeyHash>>);

impl Pins {
    fn key(&self, id: &MachineId) -> Option<KeyHash> {
        self.0.lock().expect("no panic").get(id).copied()
    }
}

#[async_trait]
impl PinKey for Pins {
    async fn pin(&self, machine: &MachineId, key: KeyHash) -> Result<(), PinError> {
        let mut keys = self.0.lock().expect("no panic");
        if *keys.entry(machine.clone()).or_insert(key) == key {
            Ok(())
        } else {
            Err(PinError::OtherKey {
                machine: machine.clone(),
            })
        }
    }
}

#[derive(Default)]
struct Sink {
    log: Vec<u8>,
    shared: Seen,
}

/// The log so far, for who waits for something in it.
#[derive(Clone, Default)]
struct Seen(Arc<tokio::sync::watch::Sender<String>>);

impl Seen {
    async fn until(&self, text: &str) {
        let mut log = self.0.subscribe();
        log.wait_for(|log| log.contains(text))
            .await
            .expect("it is shown");
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.log).into_owned()
    }
}

#[async_trait]
impl LogSink for Sink {
    fn position(&self, _step: &StepId) -> u64 {
        self.log.len() as u64
    }

    async fn write(
        &mut self,
        _step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        assert_eq!(offset, self.log.len() as u64, "no gap and nothing twice");
        self.log.extend_from_slice(bytes);
        self.shared.0.send_replace(self.text());
        Ok(self.log.len() as u64)
    }
}
