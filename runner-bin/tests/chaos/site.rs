//! A round's place: its directory, where its runners listen and keep what they
//! must not forget, and what is left of its machines and processes.
//!
//! ```text
//! pool.yml       the pool, of `type: local`
//! state-0 …      a runner's state; with its journal, where that is a file
//! trust, logs    those of all runners
//! machines       the machines' folders
//! starts         what the steps say of themselves
//! said-0 …       what each runner said
//! schedule       what was to happen
//! chronicle      what did
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::spawn_blocking;
use vmpool_core::journal::Journal;
use vmpool_store::{PostgresJournal, SqliteJournal};

use super::schedule::{Part, Schedule};
use super::script::{Marks, STAGE_MARK, StepPlan, start_mark};
use super::support::{free_port, processes};

/// The name of the pool.
pub(crate) const POOL: &str = "linux";

/// Stands between what a runner said and what its next process says.
const STARTED: &str = "── started";

/// Lines of what a runner said that are shown of a round that went wrong.
const SHOWN: usize = 30;

/// A round's directory. Removed when it is dropped, unless it is kept; then no
/// process of the round is left in any case.
#[derive(Debug)]
pub(crate) struct Site {
    directory: TempDir,
    limit: u32,
    runners: Vec<Ports>,
    /// The journal's URL; none: a file in the first runner's state.
    database: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    peers: u16,
}

/// A process of a machine that may be killed.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) pid: i32,
    pub(crate) machine: String,
}

impl Site {
    pub(crate) fn new(schedule: &Schedule, database: Option<String>) -> Self {
        let prefix = format!("vmpool-chaos-{}-", schedule.seed);
        let mut directory = TempDir::with_prefix(prefix).expect("a temporary directory");
        // It is evidence until all is found to be well.
        directory.disable_cleanup(true);
        let ports = schedule.runners.iter().map(|_| Ports {
            http: free_port(),
            peers: free_port(),
        });
        let site = Self {
            limit: schedule.limit,
            runners: ports.collect(),
            database,
            directory,
        };
        fs::create_dir(site.path().join("starts")).expect("make a directory");
        site.keep_warm(schedule.warm);
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Nothing here is of interest any more.
    pub(crate) fn is_no_evidence(&mut self) {
        self.directory.disable_cleanup(false);
    }

    /// How many machines the runners keep ready from their next start on.
    pub(crate) fn keep_warm(&self, warm: u32) {
        // The clocks are longer than a round, so that what is leaked is seen.
        let text = format!(
            "version: \"1\"\ninstances:\n- name: {POOL}\n  type: local\n  pool: {warm}\n  \
             limit: {}\n  spec:\n    root: {}\n    \
             clocks: {{boot: 10m, idle: 10m, stage_grace: 10m}}\n    \
             deadlines: {{draining: 15s}}\n",
            self.limit,
            self.machines().display()
        );
        fs::write(self.path().join("pool.yml"), text).expect("write the pool file");
    }

    pub(crate) fn machines(&self) -> PathBuf {
        self.path().join("machines")
    }

    fn starts(&self) -> PathBuf {
        self.path().join("starts")
    }

    /// The script of a step that is to run here.
    pub(crate) fn script(&self, step: &StepPlan) -> String {
        step.script(Marks {
            machines: &self.machines(),
            starts: &self.starts(),
        })
    }

    /// Where callers find the runners.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.runners.iter().map(|ports| ports.http).collect()
    }

    /// What the runner of this number says is in this file.
    fn said(&self, runner: usize) -> PathBuf {
        self.path().join(format!("said-{runner}"))
    }

    /// The end of what that runner said.
    pub(crate) fn last_words(&self, runner: usize) -> String {
        let said = fs::read_to_string(self.said(runner)).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// The runner has said that it serves, since it was started last.
    pub(crate) fn came_up(&self, runner: usize) -> bool {
        let said = fs::read_to_string(self.said(runner)).unwrap_or_default();
        let (_, last) = said.rsplit_once(STARTED).unwrap_or_default();
        last.contains(" serves\n")
    }

    /// `vmpool serve` of the runner of this number, not yet started.
    pub(crate) fn command(&self, runner: usize) -> Command {
        let mut said = File::options()
            .append(true)
            .create(true)
            .open(self.said(runner))
            .expect("a file for what is said");
        writeln!(said, "{STARTED}").expect("the file can be written");
        let ports = self.runners[runner];
        let path = |name: &str| self.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmpool"));
        command
            .args(["serve", "--deployment", "chaos", "--grace", "2s"])
            .args(["--grpc-listen", "127.0.0.1:0", "--listen"])
            .arg(format!("127.0.0.1:{}", ports.http))
            .arg("--pool")
            .arg(path("pool.yml"))
            .arg("--state")
            .arg(self.state(runner))
            .arg("--trust")
            .arg(path("trust"))
            .arg("--logs")
            .arg(path("logs"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .kill_on_drop(true);
        if let Some(database) = &self.database {
            command
                .args(["--journal", database])
                .arg(format!("--peer-listen=127.0.0.1:{}", ports.peers))
                .arg(format!("--peer-url=https://127.0.0.1:{}", ports.peers));
        }
        command
    }

    /// The round's journal, to be read.
    ///
    /// # Errors
    /// It can't be opened.
    pub(crate) async fn journal(&self) -> anyhow::Result<Arc<dyn Journal>> {
        if let Some(url) = &self.database {
            return Ok(Arc::new(PostgresJournal::connect_read_only(url).await?));
        }
        let path = self.state(0).join("vmpool.db");
        let journal = spawn_blocking(move || SqliteJournal::open_read_only(path)).await??;
        Ok(Arc::new(journal))
    }

    /// Whether `vmpool pool ledger`, which asks this runner, finds every machine
    /// accounted for; else what it says.
    pub(crate) async fn ledger(&self, runner: usize) -> Result<(), String> {
        let mut ledger = Command::new(env!("CARGO_BIN_EXE_vmpool"));
        ledger
            .args(["pool", "ledger", "--state"])
            .arg(self.state(runner));
        let told = ledger.output().await.expect("run vmpool");
        if told.status.success() {
            return Ok(());
        }
        let said = [told.stdout, told.stderr].concat();
        Err(format!(
            "pool ledger: {}: {}",
            told.status,
            String::from_utf8_lossy(&said)
        ))
    }

    fn state(&self, runner: usize) -> PathBuf {
        self.path().join(format!("state-{runner}"))
    }

    /// A step's log as it is kept; none: there is no such file.
    pub(crate) fn log(&self, stage: &str, step: &str) -> Option<Vec<u8>> {
        fs::read(
            self.path()
                .join("logs")
                .join(stage)
                .join(format!("{step}.log")),
        )
        .ok()
    }

    /// How often the step was started.
    pub(crate) fn started(&self, stage: &str, step: &str) -> usize {
        let text = fs::read_to_string(self.starts().join(start_mark(stage, step)));
        text.unwrap_or_default().lines().count()
    }

    /// The machines that ever had a folder, with the marks of their stages.
    pub(crate) fn folders(&self) -> Vec<(String, Vec<String>)> {
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        let marked = |machine: String| {
            let mut marks = names(&self.machines().join(&machine));
            marks.retain(|name| name.starts_with(STAGE_MARK));
            (machine, marks)
        };
        let machines = names(&self.machines());
        machines.into_iter().map(marked).collect()
    }

    /// The disks of machines.
    pub(crate) fn disks(&self) -> Vec<PathBuf> {
        let disks = self.folders().into_iter();
        disks
            .map(|(machine, _)| self.machines().join(machine).join("state"))
            .filter(|disk| disk.exists())
            .collect()
    }

    /// All processes of the round: those that name its directory, or one of its machines.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let machines: Vec<String> = self.folders().into_iter().map(|(id, _)| id).collect();
        let mut marks = vec![self.path().to_str().expect("a path in UTF-8")];
        marks.extend(machines.iter().map(String::as_str));
        processes(&marks)
    }

    /// Those of its processes that are this part of a machine, in the order of their start.
    pub(crate) fn targets(&self, part: Part) -> Vec<Target> {
        let role = match part {
            Part::Agent => "run-machine",
            Part::Supervisor => "supervise-machine",
            Part::Holder => "hold-steps",
        };
        let target = |(pid, line): (i32, String)| {
            let mut words = line.split_ascii_whitespace().skip(1);
            (words.next() == Some(role)).then_some(())?;
            Some(Target {
                pid,
                machine: words.next()?.to_owned(),
            })
        };
        let mut targets: Vec<_> = self.processes().into_iter().filter_map(target).collect();
        targets.sort_by_key(|target| target.pid);
        targets
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A round that went wrong leaves nothing that runs either.
        for (pid, _) in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
