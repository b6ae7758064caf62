//! Machines of a fake EC2 that are tasks of this process: the agent's own
//! listener, identity and enrolment, and behind them a service that answers at
//! once. What is measured then is the runner.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use fake_ec2::{Birth, Control, Machines, UserData};
use futures_util::stream::{self, Stream};
use lite_engine::enrol::Enrolment;
use lite_engine::identity::Identity;
use lite_engine::listener::{Limits, agent_service, serve};
use lite_engine::supervisor::Request as Ordered;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use vmpool_core::{MachineId, SecretBytes};
use vmpool_proto::agent::v1::agent_server::Agent;
use vmpool_proto::agent::v1::run_event::Kind as Event;
use vmpool_proto::agent::v1::run_request::Kind as Run;
use vmpool_proto::agent::v1::step_ended::How;
use vmpool_proto::agent::v1::{
    CancelRequest, CancelResponse, CleanupRequest, CleanupResponse, HoldRequest, HoldResponse,
    OpenRequest, PrepareRequest, PrepareResponse, RenewCertificateRequest,
    RenewCertificateResponse, RenewRequest, RenewResponse, Report, RunEvent, RunRequest, StepEnded,
    WatchEvent, WatchRequest,
};

/// Where agents listen.
const PORT: u16 = 9079;

/// Machines as tasks. They end with the cloud, or by dropping this.
pub(crate) struct AtOnce {
    disks: PathBuf,
    running: Mutex<BTreeMap<String, CancellationToken>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl AtOnce {
    /// Machines with their disks in this directory.
    pub(crate) fn new(disks: PathBuf) -> Self {
        Self {
            disks,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    async fn boot(&self, birth: &Birth) -> Result<()> {
        let data = UserData::read(birth.user_data.as_deref().unwrap_or_default())?;
        let is_request = |path: &Path| path.file_name().is_some_and(|name| name == "request");
        let mut files = data.files.into_iter();
        let request = files.find(|file| is_request(&file.path));
        let request = SecretBytes::new(request.context("no request")?.content);
        let bootstrap = Ordered::from_bytes(&request)?.bootstrap;
        let disk = self.disks.join(&birth.instance);
        std::fs::create_dir(&disk)?;
        let identity = Identity::load_or_create(&disk.join("identity"), &bootstrap.ca_pem)?;
        let address = SocketAddr::from((birth.private_address, PORT));
        let listener = TcpListener::bind(address).await?;
        let runner = bootstrap.runner_name.clone();
        let machine = MachineId::new(birth.instance.as_str());
        let enrolment = Enrolment::new(identity, bootstrap, Some(machine), || {});
        let stop = self.stop.child_token();
        let instance = birth.instance.clone();
        self.running.lock().insert(instance, stop.clone());
        let agent = agent_service(Answers::default());
        self.tasks.spawn(async move {
            let serving = serve(
                listener,
                Arc::new(enrolment),
                &runner,
                agent,
                Limits::default(),
                stop,
            );
            if let Err(error) = serving.await {
                eprintln!("  an agent does not listen: {error}");
            }
        });
        Ok(())
    }
}

#[async_trait]
impl Machines for AtOnce {
    async fn start(&self, birth: Birth, control: &Control) {
        if let Err(error) = self.boot(&birth).await {
            eprintln!("  {} does not boot: {error:#}", birth.instance);
            control.console(&birth.instance, format!("{error:#}\n").as_bytes());
        }
    }

    async fn stop(&self, instance: &str, _: bool) {
        self.terminate(instance).await;
    }

    async fn terminate(&self, instance: &str) {
        if let Some(stop) = self.running.lock().remove(instance) {
            stop.cancel();
        }
    }

    async fn notice(&self, _: &str, _: jiff::Timestamp) {}

    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// An agent that says yes, and whose steps are over when they begin.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    term: u64,
    stage: Option<String>,
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Agent for Answers {
    type RunStream = Events<RunEvent>;
    type WatchStream = Events<WatchEvent>;
    type RenewCertificateStream = Events<RenewCertificateResponse>;

    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<Report>, Status> {
        let mut said = self.0.lock();
        said.term = request.into_inner().term;
        Ok(Response::new(Report {
            term: Some(said.term),
            stage_id: said.stage.clone(),
            prepared: said.stage.is_some(),
            version: "bench".to_owned(),
            ..Report::default()
        }))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Ok(Response::new(RenewResponse {}))
    }

    async fn prepare(
        &self,
        request: Request<PrepareRequest>,
    ) -> Result<Response<PrepareResponse>, Status> {
        self.0.lock().stage = Some(request.into_inner().stage_id);
        let workdir = "/work".to_owned();
        Ok(Response::new(PrepareResponse { workdir }))
    }

    async fn run(
        &self,
        request: Request<Streaming<RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let first = request.into_inner().message().await?;
        let log_end = match first.and_then(|first| first.kind) {
            Some(Run::Start(start)) => start.log_offset,
            Some(Run::Attach(attach)) => attach.log_offset,
            _ => return Err(Status::invalid_argument("neither start nor attach")),
        };
        let ended = Event::Ended(StepEnded {
            how: How::Exited.into(),
            started_at_ms: 1,
            ended_at_ms: 1,
            log_end,
            ..StepEnded::default()
        });
        let event = RunEvent { kind: Some(ended) };
        Ok(Response::new(Box::pin(stream::iter([Ok(event)]))))
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        Ok(Response::new(CancelResponse {}))
    }

    async fn hold(&self, _: Request<HoldRequest>) -> Result<Response<HoldResponse>, Status> {
        Ok(Response::new(HoldResponse {}))
    }

    async fn cleanup(
        &self,
        _: Request<CleanupRequest>,
    ) -> Result<Response<CleanupResponse>, Status> {
        Ok(Response::new(CleanupResponse {}))
    }

    /// Has nothing to tell.
    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Box::pin(stream::pending())))
    }

    async fn renew_certificate(
        &self,
        _: Request<Streaming<RenewCertificateRequest>>,
    ) -> Result<Response<Self::RenewCertificateStream>, Status> {
        Err(Status::unimplemented("it is good for the whole bench"))
    }
}
