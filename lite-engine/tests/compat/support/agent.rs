//! The program, its folder and its certificates.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Caller, LONG};

/// The program under test: the one that was built with the tests, or the one
/// that is to be shipped, where that is named.
pub(crate) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let named = std::env::var_os("VMPOOL_TEST_AGENT");
    named.map_or_else(|| env!("CARGO_BIN_EXE_lite-engine").into(), PathBuf::from)
});

/// An agent that serves. Its folder outlives it, until this is dropped.
pub(crate) struct Agent {
    folder: TempDir,
    settings: BTreeMap<String, String>,
    running: Option<(Child, SocketAddr)>,
}

impl Agent {
    /// One that listens, with certificates of its own.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further settings.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut agent = Self::prepare(settings);
        agent.run();
        agent
    }

    /// One that does not run yet.
    pub(crate) fn prepare(settings: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().canonicalize().expect("the temporary folder");
        let made = Command::new(&*PROGRAM)
            .args(["certs", "--certPath"])
            .arg(path.join("certs"))
            .current_dir(&path)
            .status();
        assert!(made.expect("the program runs").success());
        let file = |name: &str| path.join("certs").join(name).display().to_string();
        let mut all: BTreeMap<String, String> = [
            ("HTTPS_BIND", "127.0.0.1:0".to_owned()),
            ("SERVER_CERT_FILE", file("server-cert.pem")),
            ("SERVER_KEY_FILE", file("server-key.pem")),
            ("SERVER_CLIENT_CERT_FILE", file("ca-cert.pem")),
            ("SKIP_PREPARE_SERVER", "true".to_owned()),
            ("HARNESS_WORKDIR", path.display().to_string()),
            ("DOCKER_HOST", "unix:///nonexistent/docker.sock".to_owned()),
            (
                "HARNESS_WI_MINT_URL_OVERRIDE",
                format!("unix://{}/wi/wi.sock", path.display()),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, value) in settings {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        Self {
            folder,
            settings: all,
            running: None,
        }
    }

    /// Everything that belongs to it is in here.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = self.folder.path().canonicalize();
        folder.expect("the temporary folder")
    }

    /// What agent and steps share.
    pub(crate) fn shared(&self) -> PathBuf {
        self.folder().join("tmp/engine")
    }

    /// A path for a test's own use.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The program with its settings, not started.
    pub(crate) fn command(&self) -> Command {
        let env_file = self.path("settings.env");
        let lines = self.settings.iter();
        let lines: Vec<String> = lines
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        std::fs::write(&env_file, lines.concat()).expect("written");
        let mut command = Command::new(&*PROGRAM);
        command
            .args(["server", "--env-file"])
            .arg(env_file)
            .arg("--state")
            .arg(self.path("state"))
            .env_clear()
            .env("PATH", std::env::var("PATH").expect("a path"))
            .current_dir(self.folder())
            .stdin(Stdio::null());
        command
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn run(&mut self) {
        let mut child = self
            .command()
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let told = child.stderr.take().expect("piped");
        let (say, heard) = mpsc::channel();
        // Ends with the agent, whose pipe must not fill.
        std::thread::spawn(move || {
            for line in BufReader::new(told).lines().map_while(Result::ok) {
                eprintln!("agent: {line}");
                if let Some((_, rest)) = line.split_once("address=") {
                    let address = rest.split_whitespace().next().and_then(|a| a.parse().ok());
                    let _ = say.send(address);
                }
            }
        });
        let address = heard.recv_timeout(LONG).expect("the agent listens");
        self.running = Some((child, address.expect("an address")));
    }

    /// The program's process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").0.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").1
    }

    /// Somebody with its certificates.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.address(), &self.path("certs"), &self.path("certs"))
    }

    /// Ends the program by a signal, and waits for that.
    pub(crate) fn end(&mut self, signal: Signal) -> std::process::ExitStatus {
        let (mut child, _) = self.running.take().expect("it runs");
        let pid = i32::try_from(child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it lives");
        child.wait().expect("waited for")
    }

    /// How much memory the program has ever had, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse().ok())
            .expect("a figure")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A failed test leaves steps; they carry the folder in their environment.
        let mark = self.folder().display().to_string();
        for _ in 0..100 {
            let left = processes_of(&mark);
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Processes in whose environment this stands.
pub(crate) fn processes_of(mark: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let carries = |pid: &i32| {
        let environment = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ"));
        environment.is_ok_and(|environment| {
            environment
                .windows(mark.len())
                .any(|part| part == mark.as_bytes())
        })
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(carries)
        .collect()
}
