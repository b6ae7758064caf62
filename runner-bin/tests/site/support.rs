//! A site of a test's own, `vmpool serve` run on it, and what it leaves behind.
//!
//! Every process of a site has the site's directory in its environment or its
//! command line: that is how a test knows its own among all others of the host.

#[path = "ports.rs"]
mod ports;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub(crate) use ports::free_port;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` sees something.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < until, "waited too long for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The agent's program: the one beside ours, or one that is built there.
pub(crate) fn lite_engine() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_vmpool")).parent();
        let folder = folder.expect("a program is in a folder");
        let program = folder.join("lite-engine");
        if !program.exists() {
            let target = folder.parent().expect("a profile is in a target folder");
            let built = Command::new(env!("CARGO"))
                .args([
                    "build",
                    "--locked",
                    "-p",
                    "lite-engine",
                    "--bin",
                    "lite-engine",
                ])
                .arg("--target-dir")
                .arg(target)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .expect("run cargo");
            assert!(built.success(), "lite-engine was not built: {built}");
        }
        program
    })
}

/// A state directory, a root of machines, a pool file and an address.
pub(crate) struct Site {
    directory: TempDir,
    pub(crate) port: u16,
}

/// What a caller was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The machine that a setup was answered with.
    pub(crate) fn machine(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        let machine = &self.json()["instance_id"];
        machine.as_str().expect("a machine's id").to_owned()
    }
}

impl Site {
    /// A site with one pool `linux`.
    pub(crate) fn new(warm: u32, limit: u32) -> Self {
        let directory = TempDir::with_prefix("vmpool-serve-").expect("a temporary directory");
        let site = Self {
            directory,
            port: free_port(),
        };
        site.pool(warm, limit, "{boot: 2m, idle: 2m, stage_grace: 2m}");
        site
    }

    /// Writes the pool file.
    pub(crate) fn pool(&self, warm: u32, limit: u32, clocks: &str) {
        let root = self.path().join("machines");
        self.pool_file(&format!(
            "version: \"1\"\ninstances:\n- name: linux\n  type: local\n  pool: {warm}\n  \
             limit: {limit}\n  spec:\n    root: {}\n    clocks: {clocks}\n",
            root.display()
        ));
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where builds are asked for.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The deployment's name: no other site's, whose machines are on the same host.
    pub(crate) fn deployment(&self) -> String {
        let name = self.path().file_name().expect("a directory has a name");
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn pool_file(&self, text: &str) {
        fs::write(self.path().join("pool.yml"), text).expect("write the pool file");
    }

    /// A step's log, as far as it is there.
    pub(crate) fn log(&self, stage: &str, step: &str) -> String {
        let path = self.path().join(format!("state/logs/{stage}/{step}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// What the runners said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path().join("said")).unwrap_or_default()
    }

    /// `vmpool serve` of this site, not yet begun.
    pub(crate) fn command(&self, program: &Path) -> Command {
        self.command_of(program, "state", self.port())
    }

    /// As [`Site::command`], for one of several runners.
    pub(crate) fn command_of(&self, program: &Path, state: &str, port: u16) -> Command {
        self.command_at(program, state, port, 0)
    }

    /// As [`Site::command_of`], for one that speaks gRPC at this port.
    pub(crate) fn command_at(&self, program: &Path, state: &str, port: u16, grpc: u16) -> Command {
        let said = File::options()
            .append(true)
            .create(true)
            .open(self.path().join("said"))
            .expect("a file for what is said");
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg("--pool")
            .arg(self.path().join("pool.yml"))
            .arg("--state")
            .arg(self.path().join(state))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--grpc-listen", &format!("127.0.0.1:{grpc}")])
            .args(["--deployment", &self.deployment()])
            // Its machines and their steps inherit it: that is how they are found.
            .env("VMPOOL_TEST_SITE", self.path())
            .env_remove("VMPOOL_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said);
        command
    }

    /// A runner that is ready.
    pub(crate) async fn serve(&self) -> Serving {
        self.serve_with(Path::new(env!("CARGO_BIN_EXE_vmpool")))
            .await
    }

    /// A runner that is ready, and waits so long for requests when it is to stop.
    pub(crate) async fn serve_for(&self, grace: &str) -> Serving {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
        self.ready(command.args(["--grace", grace])).await
    }

    /// A runner of the program at this path, ready.
    pub(crate) async fn serve_with(&self, program: &Path) -> Serving {
        self.ready(&mut self.command(program)).await
    }

    /// A runner that is about to begin.
    pub(crate) fn begin(&self) -> Serving {
        Serving::begin(&mut self.command(Path::new(env!("CARGO_BIN_EXE_vmpool"))))
    }

    /// Starts a runner by a command of its own, and waits until it is ready.
    pub(crate) async fn ready(&self, command: &mut Command) -> Serving {
        self.ready_at(self.port(), command).await
    }

    /// Starts a runner, and waits until it is ready at that port.
    pub(crate) async fn ready_at(&self, port: u16, command: &mut Command) -> Serving {
        let child = command.spawn().expect("start vmpool serve");
        let mut serving = Serving { child };
        wait_for("a runner that is ready", async || {
            if let Some(status) = serving.child.try_wait().expect("look at the runner") {
                panic!("the runner ended with {status}: {}", self.said());
            }
            let ready = ask(port, "GET", "/readyz", Bytes::new()).await;
            ready.is_some_and(|ready| ready.status == 200).then_some(())
        })
        .await;
        serving
    }

    /// Asks once; none: nobody answered.
    pub(crate) async fn get(&self, path: &str) -> Option<Answered> {
        self.ask("GET", path, Bytes::new()).await
    }

    /// Asks once; none: nobody answered, or not to the end.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Option<Answered> {
        self.ask("POST", path, body.to_string().into()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Bytes) -> Option<Answered> {
        ask(self.port(), method, path, body).await
    }

    /// Sends a body that never ends; gives what is answered to that.
    pub(crate) async fn pour(&self, path: &str, head: &str) -> String {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        let (mut from, mut to) = stream.expect("a connection").into_split();
        let head = format!("POST {path} HTTP/1.1\r\nhost: vmpool\r\n{head}\r\n\r\n");
        // The same bytes are a chunk where chunks are read.
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
        let pouring = async {
            to.write_all(head.as_bytes()).await?;
            loop {
                to.write_all(chunk.as_bytes()).await?;
            }
        };
        let mut heard = Vec::new();
        tokio::select! {
            biased;
            read = from.read_to_end(&mut heard) => drop(read),
            // It is closed at the other end, where perhaps something was said before.
            broken = async { let broken: io::Result<()> = pouring.await; broken } => {
                broken.expect_err("it has no end");
                let _ = from.read_to_end(&mut heard).await;
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// The most memory that the runner ever had, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.holder()));
        let status = status.expect("the runner's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        let kilobytes = kilobytes.expect("its peak").parse::<usize>();
        kilobytes.expect("a number") << 10
    }

    /// Asks as a delegate does: again while nobody answers, or is told to.
    pub(crate) async fn insist(&self, path: &str, body: &Value) -> Answered {
        wait_for(&format!("an answer to {path}"), async || {
            let answered = self.post(path, body).await?;
            (answered.status != 503).then_some(answered)
        })
        .await
    }

    /// The machine that the stage gets.
    pub(crate) async fn setup(&self, stage: &str) -> String {
        self.insist("/setup", &setup(stage)).await.machine()
    }

    pub(crate) async fn destroy(&self, stage: &str) {
        let answered = self.insist("/destroy", &json!({"id": stage})).await;
        assert_eq!((answered.status, answered.body.as_str()), (200, ""));
    }

    /// Waits until the runner is the only process of the site.
    pub(crate) async fn wait_until_no_machine_is_left(&self) {
        wait_for(&format!("the end of {:?}", self.processes()), async || {
            (self.processes().len() == 1).then_some(())
        })
        .await;
    }

    /// The processes of the site, with their command lines.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        processes(&[self.path().to_str().expect("a path in UTF-8")])
    }

    /// The process that holds the state directory.
    pub(crate) fn holder(&self) -> i32 {
        let text = fs::read_to_string(self.path().join("state/lock")).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind either.
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Asks whoever listens on that port once; none: nobody answered, or not to the end.
pub(crate) async fn ask(port: u16, method: &str, path: &str, body: Bytes) -> Option<Answered> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "vmpool")
        .body(Full::new(body))
        .expect("a request");
    let response = sender.send_request(request).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let retry_after = head.headers.get("retry-after");
    Some(Answered {
        status: head.status.as_u16(),
        retry_after: retry_after.map(|value| value.to_str().expect("text").to_owned()),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The processes that have one of `marks` in their environment or their command
/// line, with the latter.
pub(crate) fn processes(marks: &[&str]) -> Vec<(i32, String)> {
    let text = |path: PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let marked = |text: &str| marks.iter().any(|mark| text.contains(mark));
    let entries = fs::read_dir("/proc")
        .expect("the list of processes")
        .flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let line = text(entry.path().join("cmdline"));
            let ours = marked(&line) || marked(&text(entry.path().join("environ")));
            (ours && !line.is_empty()).then_some((pid, line))
        })
        .collect()
}

/// The request for a stage's machine.
pub(crate) fn setup(stage: &str) -> Value {
    json!({"id": stage, "pool_id": "linux", "setup_request": {"envs": {"WHO": "me"}}})
}

/// The request for a step that `sh` runs.
pub(crate) fn step(stage: &str, id: &str, script: &str) -> Value {
    json!({"stage_runtime_id": stage, "start_step_request": {"id": id,
        "run": {"entrypoint": ["sh", "-c"], "commands": [script]}, "environment": {}}})
}

/// A runner of a site. Killed when dropped.
pub(crate) struct Serving {
    child: Child,
}

impl Serving {
    /// A runner that is about to begin, by a command of its own.
    pub(crate) fn begin(command: &mut Command) -> Self {
        Self {
            child: command.spawn().expect("start vmpool serve"),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("send a signal");
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        wait_for("the runner's end", async || {
            self.child.try_wait().expect("look at the runner")
        })
        .await
    }

    /// Stops it by SIGTERM.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.end().await
    }

    /// Ends it without any warning.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.end().await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `vmpool serve` until it ends by itself: its exit code and what it said.
pub(crate) fn refused(site: &Site) -> (i32, String) {
    let mut command = site.command(Path::new(env!("CARGO_BIN_EXE_vmpool")));
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("start vmpool");
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut said).expect("what it says");
    let status = child.wait().expect("its end");
    (status.code().unwrap_or(-1), said)
}

/// Puts a copy of the program at `path`, as an installer does. A process of its
/// own writes it: what another thread starts meanwhile would have the file open
/// for writing, too, and nobody could run it.
pub(crate) fn install(program: &Path, path: &Path) {
    let new = path.with_extension("new");
    let mut installer = Command::new("install");
    let installed = installer.arg("-m700").args([program, &new]).status();
    assert!(installed.expect("start install").success());
    fs::rename(new, path).expect("put it in place");
}
