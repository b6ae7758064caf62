//! A host in a temporary folder, and what the tests ask of it.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lite_engine::host::{Host, HostConfig, RunningStep, StepOrder};
use lite_engine::log::LogSpace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vmpool_core::agent::{Content, StepRecord};
use vmpool_core::{StepOutcome, StepStatus, Timestamp};

/// Longer than anything takes that works at all.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) const EXITED_0: StepStatus = StepStatus::Exited { code: 0 };

pub(crate) struct Machine {
    dir: TempDir,
    pub(crate) grace: Duration,
    pub(crate) log_space: LogSpace,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        Self {
            dir,
            grace: Duration::from_secs(10),
            log_space: LogSpace::default(),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir
            .path()
            .canonicalize()
            .expect("the temporary folder")
    }

    /// A host as a fresh or a restarted agent opens it.
    pub(crate) fn host(&self) -> Host {
        let mut config = HostConfig::new(self.path().join("host"));
        config.holder_program = env!("CARGO_BIN_EXE_lite-engine").into();
        config.grace = self.grace;
        config.log_space = self.log_space;
        Host::open(config).expect("the host's folder")
    }

    /// What the processes of this step are marked with.
    pub(crate) fn mark(&self, id: &str) -> PathBuf {
        self.path().join("host").join(id)
    }

    /// A shell step that begins in the machine's folder.
    pub(crate) fn shell(&self, id: &str, script: &str) -> StepOrder {
        self.program(id, &["sh", "-c", script])
    }

    pub(crate) fn program(&self, id: &str, command: &[&str]) -> StepOrder {
        let path = std::env::var("PATH").expect("a path");
        StepOrder {
            record: StepRecord {
                id: id.into(),
                content: Content::default(),
                started_at: Timestamp::default(),
            },
            command: command.iter().map(ToString::to_string).collect(),
            env: [("PATH".to_owned(), path)].into(),
            secrets: Vec::new(),
            mask: lite_engine::mask::Style::Plain,
            expressions: String::new(),
            secrets_file: None,
            workdir: self.path(),
            user: None,
            timeout: None,
            limits: vmpool_core::Limits::default(),
            detached: false,
            grace: None,
            preamble: String::new(),
        }
    }

    /// Runs one shell step on a host of its own, to its end.
    pub(crate) async fn run(&self, script: &str) -> (StepStatus, String) {
        self.run_order(self.shell("step", script)).await
    }

    pub(crate) async fn run_order(&self, order: StepOrder) -> (StepStatus, String) {
        let host = self.host();
        let step = host.start(order).await.expect("started");
        let outcome = ended(&step).await;
        let log = whole_log(&step).await;
        assert_eq!(outcome.log_end, log.len() as u64);
        (outcome.status, String::from_utf8_lossy(&log).into_owned())
    }
}

/// A test that fails leaves no process either.
impl Drop for Machine {
    fn drop(&mut self) {
        for pid in processes_of(&self.path().join("host")) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

pub(crate) async fn ended(step: &RunningStep) -> StepOutcome {
    let outcome = tokio::time::timeout(LONG, step.wait())
        .await
        .expect("an end within a minute");
    outcome.expect("a host that watches")
}

pub(crate) async fn whole_log(step: &RunningStep) -> Vec<u8> {
    let mut reader = step.log(0);
    let mut log = Vec::new();
    while let Some(chunk) = reader.next().await.expect("the log") {
        assert_eq!(chunk.offset, log.len() as u64);
        log.extend_from_slice(&chunk.bytes);
    }
    log
}

/// Reads the log until it has this many lines.
pub(crate) async fn lines(step: &RunningStep, count: usize) -> Vec<String> {
    let mut reader = step.log(0);
    let mut log = String::new();
    let read = async {
        while log.lines().count() < count || !log.ends_with('\n') {
            let chunk = reader.next().await.expect("the log").expect("more lines");
            log.push_str(std::str::from_utf8(&chunk.bytes).expect("text"));
        }
    };
    tokio::time::timeout(LONG, read)
        .await
        .expect("the lines within a minute");
    log.lines().map(str::to_owned).collect()
}

/// What `seq` prints.
pub(crate) fn numbers(range: RangeInclusive<u32>) -> String {
    range.fold(String::new(), |text, number| {
        text + &number.to_string() + "\n"
    })
}

pub(crate) fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().expect("a pid"))
}

/// Whether the process has not ended; one that waits to be reaped has.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// Waits for something that has no event of its own.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "{what} within a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The processes that have a mark which begins with this.
pub(crate) fn processes_of(dir: &Path) -> Vec<i32> {
    let mark = format!("VMPOOL_STEP={}", dir.display()).into_bytes();
    let pids = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_str()?
                .parse::<i32>()
                .ok()
        });
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark)
    })
    .collect()
}
