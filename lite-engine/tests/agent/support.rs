//! An agent in a temporary folder, and a runner that speaks to it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lite_engine::host::HostConfig;
use lite_engine::identity::Identity;
use lite_engine::{Agent, Service};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use vmpool_core::agent::Clocks;
use vmpool_proto::agent::v1::agent_client::AgentClient;
use vmpool_proto::agent::v1::agent_server::AgentServer;
use vmpool_proto::agent::v1::run_event::Kind as Event;
use vmpool_proto::agent::v1::run_request::Kind as Request;
use vmpool_proto::agent::v1::step_ended::How;
use vmpool_proto::agent::v1::{
    Acknowledge, AttachStep, OpenRequest, PrepareRequest, RunEvent, RunRequest, StartStep,
    StepEnded,
};

pub(crate) const LONG: Duration = Duration::from_mins(1);
pub(crate) const TERM: u64 = 7;
pub(crate) const STAGE: &str = "stage 17";

pub(crate) type Runner = AgentClient<AgentServer<Service>>;

/// A machine's disk; agents come and go.
pub(crate) struct Disk {
    dir: TempDir,
    ca_pem: String,
    pub(crate) clocks: Clocks,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params
            .self_signed(&KeyPair::generate().expect("a key"))
            .expect("a CA");
        let dir = TempDir::new().expect("a temporary folder");
        Self {
            dir,
            ca_pem: ca.pem(),
            clocks: Clocks::default(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir
            .path()
            .canonicalize()
            .expect("the temporary folder")
    }

    /// An agent that has not joined its deployment.
    pub(crate) fn agent(&self) -> Agent {
        let identity = Identity::load_or_create(&self.path().join("identity"), &self.ca_pem);
        let mut host = HostConfig::new(self.path().join("host"));
        host.holder_program = env!("CARGO_BIN_EXE_lite-engine").into();
        let identity = identity.expect("an identity");
        Agent::take_up(&self.path().join("agent"), host, self.clocks, identity).expect("an agent")
    }

    /// Makes all that was written down that of an earlier boot.
    pub(crate) fn restart_machine(&self) {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let boot = boot.expect("the boot's id");
        for name in ["agent/fence", "agent/birth", "host/records"] {
            let path = self.path().join(name);
            let told = std::fs::read_to_string(&path).expect("written before");
            assert!(told.contains(boot.trim()), "{name}: {told}");
            let told = told.replace(boot.trim(), "an-earlier-boot");
            std::fs::write(path, told).expect("written");
        }
    }

    /// An agent that has, and a runner that rules it.
    pub(crate) async fn ruled(&self) -> (Agent, Runner) {
        let agent = self.agent();
        agent.on_enrolled()();
        let mut runner = runner(&agent);
        runner
            .open(OpenRequest { term: TERM })
            .await
            .expect("opened");
        (agent, runner)
    }

    /// The same, with its stage prepared.
    pub(crate) async fn prepared(&self) -> (Agent, Runner) {
        let (agent, mut runner) = self.ruled().await;
        runner.prepare(preparation()).await.expect("prepared");
        (agent, runner)
    }
}

pub(crate) fn runner(agent: &Agent) -> Runner {
    AgentClient::new(AgentServer::new(agent.service()))
}

pub(crate) fn preparation() -> PrepareRequest {
    PrepareRequest {
        term: TERM,
        stage_id: STAGE.into(),
        deadline_ms: 3_600_000,
        ..PrepareRequest::default()
    }
}

pub(crate) fn shell(id: &str, script: &str) -> StartStep {
    StartStep {
        term: TERM,
        stage_id: STAGE.into(),
        step_id: id.into(),
        command: ["sh", "-c", script].map(str::to_owned).into(),
        ..StartStep::default()
    }
}

pub(crate) fn attach(id: &str, log_offset: u64) -> AttachStep {
    AttachStep {
        term: TERM,
        stage_id: STAGE.into(),
        step_id: id.into(),
        log_offset,
    }
}

pub(crate) fn variables<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A step that is followed.
pub(crate) struct Run {
    events: Streaming<RunEvent>,
    requests: mpsc::Sender<RunRequest>,
    pub(crate) log: Vec<u8>,
    next: u64,
}

impl Run {
    pub(crate) async fn start(runner: &Runner, step: StartStep) -> Result<Self, Status> {
        Self::begin(runner, step.log_offset, Request::Start(step)).await
    }

    pub(crate) async fn attach(runner: &Runner, step: AttachStep) -> Result<Self, Status> {
        Self::begin(runner, step.log_offset, Request::Attach(step)).await
    }

    async fn begin(runner: &Runner, next: u64, first: Request) -> Result<Self, Status> {
        let (requests, later) = mpsc::channel(16);
        let first = stream::once(std::future::ready(RunRequest { kind: Some(first) }));
        let requested = first.chain(ReceiverStream::new(later));
        let events = runner.clone().run(requested).await?.into_inner();
        Ok(Self {
            events,
            requests,
            log: Vec::new(),
            next,
        })
    }

    pub(crate) async fn acknowledge(&self, log_offset: u64) {
        let kind = Some(Request::Acknowledge(Acknowledge { log_offset }));
        self.requests
            .send(RunRequest { kind })
            .await
            .expect("taken");
    }

    /// Reads until the log has this many lines.
    pub(crate) async fn lines(&mut self, count: usize) -> Result<(), Status> {
        while self.text().lines().count() < count || !self.text().ends_with('\n') {
            assert!(
                self.event().await?.is_none(),
                "ended after {:?}",
                self.text()
            );
        }
        Ok(())
    }

    /// Reads to the end; the result.
    pub(crate) async fn end(&mut self) -> Result<StepEnded, Status> {
        loop {
            if let Some(ended) = self.event().await? {
                let after = self.events.message().await?;
                assert_eq!(after, None, "nothing comes after the end");
                return Ok(ended);
            }
        }
    }

    async fn event(&mut self) -> Result<Option<StepEnded>, Status> {
        let event = tokio::time::timeout(LONG, self.events.message()).await;
        let event = event
            .expect("an event within a minute")?
            .expect("an end before the end");
        match event.kind.expect("a kind") {
            Event::Ended(ended) => Ok(Some(ended)),
            Event::Output(output) => {
                assert_eq!(output.offset, self.next);
                self.next += output.data.len() as u64;
                self.log.extend_from_slice(&output.data);
                Ok(None)
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.log).into_owned()
    }
}

/// Runs a step to its end.
pub(crate) async fn run(runner: &Runner, step: StartStep) -> (StepEnded, String) {
    let mut run = Run::start(runner, step).await.expect("started");
    let ended = run.end().await.expect("ended");
    (ended, run.text())
}

pub(crate) fn exited(ended: &StepEnded, code: i32) -> bool {
    ended.how() == How::Exited && ended.code == code
}

/// Whether a refusal has this code, and this reason or field in its metadata.
pub(crate) fn is(status: &Status, code: Code, key: &str, value: &str) -> bool {
    let given = status
        .metadata()
        .get(key)
        .and_then(|value| value.to_str().ok());
    status.code() == code && given == Some(value)
}
