//! What connected machines cost the runner: memory for each, and how long
//! enrolling and reconnecting take.
//!
//! ```text
//! cargo run --release -p vmpool-agent --example connections [MACHINES]
//! ```
//!
//! The agents run in a process of their own, so that this one's memory is the
//! runner's alone.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lite_engine::enrol::Enrolment;
use lite_engine::identity::Identity;
use lite_engine::listener::{Limits, agent_service, serve};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use vmpool_agent::{Agents, Authority, LinkConfig};
use vmpool_core::agent::Clocks;
use vmpool_core::{
    AgentLink, Attempt, KeyHash, Machine, MachineId, OrderId, PinError, PinKey, PoolName, Term,
};
use vmpool_proto::agent::v1::agent_server::Agent;
use vmpool_proto::agent::v1::{
    CancelRequest, CancelResponse, CleanupRequest, CleanupResponse, OpenRequest, PrepareRequest,
    PrepareResponse, RenewCertificateRequest, RenewCertificateResponse, RenewRequest,
    RenewResponse, Report, RunEvent, RunRequest, WatchEvent, WatchRequest,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("agents") => {
            let trust = args.next().ok_or("no folder")?;
            let count = args.next().ok_or("no count")?.parse()?;
            runtime.block_on(agents(trust.as_ref(), count))
        }
        count => runtime.block_on(runner(count.map_or(Ok(200), str::parse)?)),
    }
}

async fn runner(count: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Arc::new(Authority::open_or_create(folder.path())?);
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "agents".as_ref(),
            folder.path().as_os_str(),
            count.to_string().as_ref(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let lines = BufReader::new(stdout).lines().take(count);
    let addresses = lines
        .map(|line| Ok(line?.parse()?))
        .collect::<Result<Vec<SocketAddr>>>()?;

    let link = Agents::new(authority, Clocks::default(), LinkConfig::default());
    let machines: Vec<Machine> = addresses.iter().copied().enumerate().map(machine).collect();
    // What the first connection alone needs is not the others' cost.
    let (first, others) = machines.split_first().ok_or("no machine")?;
    link.open(first, Term(1), &AnyKey).await?;
    let before = resident()?;
    let enrolling = open_all(&link, others).await?;
    let each = resident()?.saturating_sub(before) / others.len().max(1);
    println!("{count} machines: {each} bytes of resident memory for each further one");
    println!("enrolling, one at a time: {enrolling}");
    for machine in others {
        link.close(&machine.id);
    }
    println!(
        "reconnecting, one at a time: {}",
        open_all(&link, others).await?
    );
    link.shutdown().await;
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Opens all and says how long each took.
async fn open_all(link: &Agents, machines: &[Machine]) -> Result<String> {
    let mut spans = Vec::new();
    for machine in machines {
        let began = Instant::now();
        link.open(machine, Term(1), &AnyKey).await?;
        spans.push(began.elapsed());
    }
    spans.sort();
    let at = |percent: usize| {
        spans
            .get(spans.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(format!("p50 {:.2?}, p99 {:.2?}", at(50), at(99)))
}

fn machine((number, address): (usize, SocketAddr)) -> Machine {
    Machine {
        id: MachineId::new(format!("m-{number}")),
        pool: PoolName::new("pool"),
        order: OrderId::new("order"),
        attempt: Attempt(1),
        address: Some(address),
        key: None,
    }
}

/// Bytes of this process in memory.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(kilobytes.parse::<usize>()? * 1024)
}

struct AnyKey;

#[async_trait]
impl PinKey for AnyKey {
    async fn pin(&self, _: &MachineId, _: KeyHash) -> std::result::Result<(), PinError> {
        Ok(())
    }
}

/// The machines' side: serves until its input ends.
async fn agents(trust: &Path, count: usize) -> Result<()> {
    let authority = Arc::new(Authority::open_or_create(trust)?);
    let link = Agents::new(authority, Clocks::default(), LinkConfig::default());
    let folder = tempfile::tempdir()?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let bootstrap = link.bootstrap(&OrderId::new("order"), Attempt(1));
        let runner_name = bootstrap.runner_name.clone();
        let state = folder.path().join(number.to_string());
        let identity = Identity::load_or_create(&state, &bootstrap.ca_pem)?;
        let enrolment = Arc::new(Enrolment::new(identity, bootstrap, None, || ()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let stop = stop.clone();
        tasks.spawn(async move {
            let agent = agent_service(Idle);
            serve(
                listener,
                enrolment,
                &runner_name,
                agent,
                Limits::default(),
                stop,
            )
            .await
        });
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    stop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(5), tasks.join_all()).await;
    Ok(())
}

/// An agent that is there, and does nothing else.
struct Idle;

fn nothing<T>() -> std::result::Result<Response<T>, Status> {
    Err(Status::unimplemented("this agent is only there"))
}

#[async_trait]
impl Agent for Idle {
    type RunStream = tokio_stream::Empty<std::result::Result<RunEvent, Status>>;
    type WatchStream = tokio_stream::Pending<std::result::Result<WatchEvent, Status>>;
    type RenewCertificateStream =
        tokio_stream::Empty<std::result::Result<RenewCertificateResponse, Status>>;

    async fn open(&self, _: Request<OpenRequest>) -> std::result::Result<Response<Report>, Status> {
        Ok(Response::new(Report::default()))
    }

    async fn renew(
        &self,
        _: Request<RenewRequest>,
    ) -> std::result::Result<Response<RenewResponse>, Status> {
        Ok(Response::new(RenewResponse {}))
    }

    async fn prepare(
        &self,
        _: Request<PrepareRequest>,
    ) -> std::result::Result<Response<PrepareResponse>, Status> {
        nothing()
    }

    async fn run(
        &self,
        _: Request<Streaming<RunRequest>>,
    ) -> std::result::Result<Response<Self::RunStream>, Status> {
        nothing()
    }

    async fn cancel(
        &self,
        _: Request<CancelRequest>,
    ) -> std::result::Result<Response<CancelResponse>, Status> {
        nothing()
    }

    async fn hold(
        &self,
        _: Request<vmpool_proto::agent::v1::HoldRequest>,
    ) -> std::result::Result<Response<vmpool_proto::agent::v1::HoldResponse>, Status> {
        nothing()
    }

    async fn cleanup(
        &self,
        _: Request<CleanupRequest>,
    ) -> std::result::Result<Response<CleanupResponse>, Status> {
        nothing()
    }

    /// There is nothing to tell, and the call goes on.
    async fn watch(
        &self,
        _: Request<WatchRequest>,
    ) -> std::result::Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::pending()))
    }

    async fn renew_certificate(
        &self,
        _: Request<Streaming<RenewCertificateRequest>>,
    ) -> std::result::Result<Response<Self::RenewCertificateStream>, Status> {
        nothing()
    }
}
