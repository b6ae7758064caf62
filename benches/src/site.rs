//! The real runner as a process, with one pool on a fake EC2 of its own, asked
//! over HTTP as a delegate asks it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fake_ec2::{Clock, Config, FakeEc2, Machines, Timing};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// For what takes a boot, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK: Duration = Duration::from_millis(20);
const LOOK_AT_POOLS: Duration = Duration::from_millis(200);

/// What a pool of a site is to be.
pub(crate) struct Pool {
    pub(crate) warm: usize,
    pub(crate) limit: usize,
    pub(crate) timing: Timing,
}

/// A runner with one pool on a cloud of its own. [`Site::end`] ends both.
pub(crate) struct Site {
    program: PathBuf,
    directory: TempDir,
    fake: FakeEc2,
    runner: Child,
    port: u16,
}

impl Site {
    /// `machines` are given a directory for their disks.
    pub(crate) async fn start(
        program: &Path,
        pool: Pool,
        machines: impl FnOnce(PathBuf) -> Arc<dyn Machines>,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix("vmpool-bench-")?;
        let disks = directory.path().join("disks");
        fs::create_dir(&disks)?;
        let config = Config {
            // Ids of machines come from it, and processes are found by these.
            seed: u64::from(std::process::id()) << 16 | pool.warm as u64,
            timing: pool.timing,
            ..Config::default()
        };
        let listen = ([127, 0, 0, 1], 0).into();
        let fake = FakeEc2::start(config, Clock::host(), machines(disks), listen).await?;
        let pools = directory.path().join("pool.yml");
        let text = json!({"version": "1", "instances": [{"name": "linux", "type": "amazon",
            "pool": pool.warm, "limit": pool.limit, "spec": {"account": {"region": "us-east-1"},
            "ami": "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/\
                    hvm/ebs-gp3/ami-id",
            "size": "m6i.large", "network": {"private_ip": true, "allow_from": ["10.0.0.0/8"]}}}]});
        fs::write(&pools, text.to_string())?;
        let port = free_port().await?;
        let said = fs::File::create(directory.path().join("said"))?;
        let runner = Command::new(program)
            .arg("serve")
            .arg("--pool")
            .arg(&pools)
            .arg("--state")
            .arg(directory.path().join("state"))
            .args(["--deployment", "bench", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .args(["--grpc-listen", "127.0.0.1:0"])
            .env("AWS_ENDPOINT_URL", fake.url())
            .env("AMAZON_ACCESS_KEY_ID", "AKIAFAKE")
            .env("AMAZON_ACCESS_KEY_SECRET", "secret")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut site = Self {
            program: program.to_owned(),
            directory,
            fake,
            runner,
            port,
        };
        let by = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let ended = site.runner.try_wait()?;
            ensure!(ended.is_none(), "the runner ended: {}", site.said());
            ensure!(Instant::now() < by, "the runner does not listen");
            tokio::time::sleep(LOOK).await;
        }
        Ok(site)
    }

    /// Waits until so many machines are ready, as the runner's own tool tells.
    pub(crate) async fn ready(&self, count: usize) -> Result<()> {
        let by = Instant::now() + PATIENCE;
        loop {
            let mut tool = tokio::process::Command::new(&self.program);
            let tool = tool.args(["pool", "ls", "--json", "--state"]);
            let told = tool.arg(self.directory.path().join("state")).output();
            let told = told.await.context("ask for the pools")?;
            let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
            let ready = told["pools"][0]["ready"].as_u64().unwrap_or_default();
            if usize::try_from(ready)? >= count {
                return Ok(());
            }
            let said = || format!("{ready} of {count} machines: {told} {}", self.said());
            ensure!(Instant::now() < by, "{}", said());
            tokio::time::sleep(LOOK_AT_POOLS).await;
        }
    }

    /// A connection to the runner.
    pub(crate) async fn caller(&self) -> Result<Caller> {
        Caller::connect(self.port).await
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where the steps' logs are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.directory.path().join("state").join("logs")
    }

    /// The runner's resident memory that is its own, in bytes: without the
    /// pages of its program's file.
    pub(crate) fn memory(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.runner.id());
        let status = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let kilobytes = |key: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.with_context(|| key.to_owned())?.parse::<u64>()?)
        };
        Ok((kilobytes("RssAnon:")?) << 10)
    }

    /// All of the runner's resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.runner.id());
        let status = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("VmRSS")?.parse::<u64>()? << 10)
    }

    fn said(&self) -> String {
        let said = fs::read_to_string(self.directory.path().join("said")).unwrap_or_default();
        let lines: Vec<_> = said.lines().rev().take(5).collect();
        lines.join("\n")
    }

    pub(crate) async fn end(mut self) {
        let _ = self.runner.kill();
        let _ = self.runner.wait();
        self.fake.stop().await;
    }
}

/// One connection to a runner, kept open as a delegate keeps it.
pub(crate) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<Result<(), hyper::Error>>,
}

impl Caller {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut running = JoinSet::new();
        running.spawn(connection);
        Ok(Self {
            sender,
            _connection: running,
        })
    }

    /// Asks the runner; gives how long it took. Another answer than 200 is an error.
    pub(crate) async fn ask(&mut self, path: &str, body: &Value) -> Result<Duration> {
        let request = Request::post(path)
            .header("host", "vmpool")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let begun = Instant::now();
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(took)
    }

    pub(crate) async fn setup(&mut self, stage: &str) -> Result<Duration> {
        let body = json!({"id": stage, "pool_id": "linux", "setup_request": {"envs": {}}});
        self.ask("/setup", &body).await
    }

    /// A step with one command of the shell.
    pub(crate) async fn step(&mut self, stage: &str, command: &str) -> Result<Duration> {
        let step = json!({"stage_runtime_id": stage, "start_step_request": {"id": "s", "run":
            {"entrypoint": ["sh", "-c"], "commands": [command]}, "environment": {}}});
        self.ask("/step", &step).await
    }

    pub(crate) async fn destroy(&mut self, stage: &str) -> Result<Duration> {
        self.ask("/destroy", &json!({"id": stage})).await
    }
}

async fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok(listener.local_addr()?.port())
}
