//! One PostgreSQL server with a folder and a port of its own.
//!
//! A supervising shell holds it and reads our pipe: when the test process ends,
//! also by a panic or by SIGKILL, the pipe ends, and the shell stops the server
//! and removes its folder. Only who kills that shell too leaves a server behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use super::programs::Programs;

const SUPERVISOR: &str = include_str!("supervisor.sh");
/// Below the ports of outgoing connections, so that none takes ours while the
/// server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports that are tried.
const TRIES: usize = 20;
/// How long processes that were killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A PostgreSQL server for one test, on 127.0.0.1, that trusts everybody.
///
/// It syncs its commits as a real one does. Dropped, it is stopped and removed.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    folder: PathBuf,
    port: u16,
    supervisor: Mutex<Supervisor>,
}

#[derive(Debug)]
struct Supervisor {
    child: Child,
    /// None: it was told to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Cluster {
    /// Starts one. Blocks for a second or two.
    ///
    /// # Panics
    /// PostgreSQL is not installed, or does not start.
    pub fn start() -> Self {
        let programs = Programs::find();
        let folder = tempfile::Builder::new()
            .prefix("vmpool-postgres-")
            .tempdir()
            .expect("the folder for temporary files can be written");
        programs.hand_over(folder.path());
        let data = folder.path().join("data");
        let mut initdb = programs.command("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        initdb
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&data);
        succeed(&mut initdb);
        let mut tried = String::new();
        for _ in 0..TRIES {
            let Some(port) = free_port() else {
                continue;
            };
            let mut supervisor = Supervisor::start(&programs, folder.path(), port);
            if supervisor.does("start") {
                return Self {
                    programs,
                    // The supervisor removes it.
                    folder: folder.keep(),
                    port,
                    supervisor: Mutex::new(supervisor),
                };
            }
            // Another process may have taken the port in between.
            tried = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            supervisor.abandon();
        }
        panic!("PostgreSQL does not start: {tried}");
    }

    /// The URL of the database `postgres`, which every server has.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Panics
    /// There is one of that name already.
    pub fn database(&self, name: &str) -> String {
        let mut createdb = self.programs.command("createdb");
        createdb.args(["--host=127.0.0.1", "--username=postgres", "--port"]);
        createdb.arg(self.port.to_string()).arg(name);
        succeed(&mut createdb);
        self.url_of(name)
    }

    /// Kills every process of the server at once, as a power cut would end
    /// them. What it had promised to keep is there after [`Cluster::restart`].
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&self) {
        let server = self.server();
        // Stopped, it starts no more processes while they are listed.
        signal(server, Signal::SIGSTOP);
        let mut all = children_of(server);
        all.push(server);
        for pid in &all {
            signal(*pid, Signal::SIGKILL);
        }
        let deadline = Instant::now() + PATIENCE;
        while let Some(pid) = all.iter().find(|pid| is_running(**pid)) {
            assert!(Instant::now() < deadline, "process {pid} survives SIGKILL");
            thread::sleep(Duration::from_millis(2));
        }
        assert!(self.supervisor.lock().does("unlock"), "{}", self.log());
    }

    /// Stops every process of the server: it is there, and answers nothing,
    /// until [`Cluster::thaw`].
    ///
    /// # Panics
    /// It does not run.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// Lets a frozen server go on.
    ///
    /// # Panics
    /// It does not run.
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// Starts the server again after [`Cluster::kill`], on the same port with
    /// the same data, and waits until it answers. One that runs is stopped first.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&self) {
        let mut supervisor = self.supervisor.lock();
        if self.lock_file().exists() {
            assert!(supervisor.does("stop"), "{}", self.log());
        }
        assert!(supervisor.does("start"), "{}", self.log());
    }

    /// What the server and those who started it said.
    pub fn log(&self) -> String {
        let files = ["pg_ctl", "log"].map(|name| self.folder.join(name));
        let texts = files.map(|path| fs::read_to_string(path).unwrap_or_default());
        texts.concat()
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn signal_all(&self, what: Signal) {
        let server = self.server();
        signal(server, what);
        for pid in children_of(server) {
            signal(pid, what);
        }
    }

    /// The process of the server that all others descend from.
    fn server(&self) -> Pid {
        let text = fs::read_to_string(self.lock_file()).unwrap_or_default();
        let pid = text.lines().next().and_then(|line| line.parse().ok());
        Pid::from_raw(pid.expect("a server that runs has a file with its process id"))
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.join("data").join("postmaster.pid")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let supervisor = self.supervisor.get_mut();
        drop(supervisor.input.take());
        // It ends within the bounds that it gives `pg_ctl`.
        let _ = supervisor.child.wait();
    }
}

impl Supervisor {
    fn start(programs: &Programs, folder: &Path, port: u16) -> Self {
        let script = folder.join("supervisor.sh");
        fs::write(&script, SUPERVISOR).expect("the folder was made for us");
        // Small, and nothing outside of its folder that a kill would leave.
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
             -c shared_buffers=16MB -c dynamic_shared_memory_type=mmap -c log_min_messages=warning"
        );
        let mut child = programs
            .command("/bin/sh")
            .arg(&script)
            .arg(folder)
            .arg(programs.folder().join("pg_ctl"))
            .arg(options)
            // A Ctrl-C is for the test process, and reaches us as the pipe's end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("every system has a shell");
        let input = child.stdin.take();
        let output = child.stdout.take().expect("it was asked for");
        Self {
            child,
            input,
            output: BufReader::new(output),
        }
    }

    /// Tells it a word. False: it failed at that.
    fn does(&mut self, word: &str) -> bool {
        let input = self.input.as_mut().expect("it was not told to end");
        let mut answer = String::new();
        writeln!(input, "{word}").expect("the supervisor is there");
        self.output
            .read_line(&mut answer)
            .expect("the supervisor answers");
        answer == "done\n"
    }

    /// Ends it without ending what it watches: there is no server.
    fn abandon(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where nobody listens, a moment ago.
fn free_port() -> Option<u16> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    // Processes begin at different ones.
    let mixed = std::process::id().wrapping_mul(131).wrapping_add(asked);
    let offset = mixed % u32::from(PORTS.end - PORTS.start);
    let port = PORTS.start + u16::try_from(offset).expect("there are fewer ports");
    TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
}

fn signal(pid: Pid, what: Signal) {
    // One that has just ended is as good as signalled.
    let _ = kill(pid, what);
}

/// Each is a session of its own, so they are found by their parent.
fn children_of(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children = pids.filter(|pid| parent_and_state(*pid).is_some_and(|(of, _)| of == parent));
    children.map(Pid::from_raw).collect()
}

fn is_running(pid: Pid) -> bool {
    parent_and_state(pid.as_raw()).is_some_and(|(_, state)| state != "Z" && state != "X")
}

fn parent_and_state(pid: i32) -> Option<(Pid, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    Some((Pid::from_raw(fields.next()?.parse().ok()?), state))
}

fn succeed(command: &mut Command) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        status.success(),
        "{command:?}: {status}\n{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
}
