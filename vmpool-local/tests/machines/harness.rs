//! What the tests share: a place for machines, and eyes for processes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vmpool_core::{Launched, Listed, ListedState, MachineId, Owner, Provider};
use vmpool_local::{AgentCommand, LocalProvider};

use crate::order::order;

pub(crate) const STAND_IN: &str = env!("CARGO_BIN_EXE_vmpool-local-stand-in");

/// A directory of machines of its own, and an owner that no other test has.
/// Whatever is left in it when the test ends, is ended.
pub(crate) struct Place {
    pub(crate) provider: LocalProvider,
    pub(crate) owner: Owner,
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let provider = provider(&dir.path().join("root"));
        Self {
            provider,
            owner: unique("owner").as_str().into(),
            dir,
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn other_provider(&self) -> LocalProvider {
        provider(&self.root())
    }

    pub(crate) async fn launch(&self, count: u32, attached: bool) -> Vec<Launched> {
        let order = order(
            &self.provider,
            self.owner.as_str(),
            &unique("order"),
            count,
            attached,
        );
        let launched = self.provider.launch(&order).await;
        assert!(
            launched.refused.is_empty() && launched.unknown.is_none(),
            "{launched:?}"
        );
        launched.machines
    }

    pub(crate) async fn launch_one(&self) -> (MachineId, Agent) {
        let machine = self.launch(1, true).await.remove(0);
        let agent = Agent::dial(machine.address.expect("an address"));
        (machine.id, agent)
    }

    pub(crate) async fn list(&self) -> Vec<Listed> {
        let listing = self.provider.list(&self.owner).await.expect("listed");
        assert!(listing.complete);
        listing.machines
    }

    pub(crate) async fn state(&self, id: &MachineId) -> Option<ListedState> {
        self.list()
            .await
            .into_iter()
            .find(|listed| listed.id == *id)
            .map(|listed| listed.state)
    }

    pub(crate) async fn await_state(&self, id: &MachineId, state: ListedState) {
        let until = Instant::now() + PATIENCE;
        while self.state(id).await != Some(state) {
            assert!(Instant::now() < until, "{id} is never {state:?}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn terminate(&self, id: &MachineId) {
        let gone = self
            .provider
            .terminate(std::slice::from_ref(id))
            .await
            .expect("terminated")
            .gone;
        assert_eq!(gone, std::slice::from_ref(id));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (_, (machine, _)) in marked() {
            if self.root().join(&machine).exists() {
                let until = Instant::now() + PATIENCE;
                let _ = lite_engine::supervisor::kill_machine(&machine.as_str().into(), until);
            }
        }
    }
}

pub(crate) fn provider(root: &Path) -> LocalProvider {
    LocalProvider::with_root(AgentCommand::Path(STAND_IN.into()), root).expect("a provider")
}

/// Text that is used once in all runs of the tests on this host.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", unique_number())
}

/// A number that is used once, fit for `sleep`.
pub(crate) fn unique_number() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}{:04}",
        100_000 + std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for something that nothing announces.
pub(crate) fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "it never came that {what}");
        std::thread::yield_now();
    }
}

/// A line to a stand-in agent.
pub(crate) struct Agent {
    connection: BufReader<TcpStream>,
}

impl Agent {
    pub(crate) fn dial(address: SocketAddr) -> Self {
        let connection = TcpStream::connect(address).expect("connected");
        connection.set_read_timeout(Some(PATIENCE)).expect("set");
        Self {
            connection: BufReader::new(connection),
        }
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let mut answer = String::new();
        self.connection.read_line(&mut answer).expect("an answer");
        answer.trim_end().to_owned()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        self.connection
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .expect("sent");
    }

    pub(crate) fn pid(&mut self) -> i32 {
        let who = self.ask("who");
        who.split(' ')
            .next()
            .and_then(|pid| pid.parse().ok())
            .expect("a pid")
    }

    /// Leaves processes under the agent that get away from it: a session of
    /// their own, a parent that has ended. Returns the mark to find them by.
    pub(crate) fn leave_stragglers(&mut self) -> Stragglers {
        let stragglers = Stragglers(unique_number());
        let Stragglers(seconds) = &stragglers;
        self.ask(&format!(
            "run setsid sh -c 'sleep {seconds} & sleep {seconds} & exec setsid sleep {seconds}' & exit"
        ));
        await_that("three stragglers run", || stragglers.count() == 3);
        stragglers
    }
}

/// Processes `sleep N` of one test.
pub(crate) struct Stragglers(pub(crate) String);

impl Stragglers {
    pub(crate) fn count(&self) -> usize {
        let is_ours = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|&byte| byte == 0);
            words.next().is_some_and(|word| word.ends_with(b"sleep"))
                && words.next() == Some(self.0.as_bytes())
        };
        pids().iter().filter(|pid| is_ours(pid)).count()
    }
}

/// All processes that carry a machine's mark or are its supervisor or agent:
/// pid ⇒ (machine, hidden argument).
pub(crate) fn marked() -> BTreeMap<i32, (String, String)> {
    let read = |pid: i32, what: &str| {
        let text = fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        text.split(|&byte| byte == 0)
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .collect::<Vec<_>>()
    };
    let mut found = BTreeMap::new();
    for pid in pids() {
        let mark = read(pid, "environ")
            .iter()
            .find_map(|entry| entry.strip_prefix("VMPOOL_MACHINE=").map(str::to_owned));
        if let Some(machine) = mark {
            let role = read(pid, "cmdline").get(1).cloned().unwrap_or_default();
            found.insert(pid, (machine, role));
        }
    }
    found
}

/// How many processes a machine has, by their mark.
pub(crate) fn processes_of(id: &MachineId) -> usize {
    marked()
        .values()
        .filter(|(machine, _)| machine == id.as_str())
        .count()
}

pub(crate) fn supervisor_of(id: &MachineId) -> i32 {
    let is_it =
        |(machine, role): &(String, String)| machine == id.as_str() && role == "supervise-machine";
    *marked()
        .iter()
        .find(|(_, found)| is_it(found))
        .expect("a supervisor")
        .0
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).expect("signalled");
}

/// Waits until a process is gone and so are its connections: until then it may
/// still accept one and drop it.
pub(crate) fn await_end_of(pid: i32) {
    await_that("a process has ended", || {
        !Path::new(&format!("/proc/{pid}")).exists()
    });
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Another process that launches machines and stays until it is killed or let go.
pub(crate) struct Embedder {
    pub(crate) process: Child,
    pub(crate) machines: Vec<(MachineId, SocketAddr)>,
    _stays: ChildStdin,
}

impl Embedder {
    pub(crate) fn launch(place: &Place, order: &str, mode: &str, count: u32) -> Self {
        let mut process = Command::new(STAND_IN)
            .arg("embed")
            .arg(place.root())
            .args([place.owner.as_str(), order, mode, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let stays = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let machines = output
            .lines()
            .map(|line| line.expect("a line"))
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (id, address) = line.split_once(' ').expect("two words");
                (id.into(), address.parse().expect("an address"))
            })
            .collect();
        Self {
            process,
            machines,
            _stays: stays,
        }
    }

    /// Ends it as the kernel's out-of-memory killer would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
