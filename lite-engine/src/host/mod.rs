//! Runs the steps of one stage on this machine: prepares it, starts steps under
//! holders, watches them, and cleans up.
//!
//! What it is not: it knows no wire format, no term, no clock, and does not
//! decide what may run. That is the service's part.
//!
//! ```text
//! <dir>/                     0700, one stage
//!   stage/                   the stage's own folder; `work` in it is the default working directory
//!   records                  which steps were let go and how they ended; see `crate::records`
//!   logs/                    what they printed; see `crate::log`
//!   wake                     a FIFO: a holder has written something
//!   holders.stderr           what holders say of their own failures
//!   groups                   which groups hold steps to their limits; see `crate::limits`
//!   outside                  what the stage created elsewhere, one path a line, to be removed
//! ```
//!
//! Invariants:
//! - A step id is started once (P9), and a step that is not in the records was
//!   never executed.
//! - The directory says everything: [`Host::open`] on it after a restart gives
//!   the same steps, with whole logs and outcomes (P4). One host at a time has it.
//! - After a restart of the machine no process is taken for one of before it:
//!   steps that ran are lost, and say so; outcomes and logs of others stay.
//! - Every step comes to an end that is told (P10): by its holder, or where
//!   that was killed, by the host, after it has ended what was left.

mod adopt;
mod beneath;
mod leftovers;
mod nursery;
mod remove;
mod stage;
mod start;
mod step;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use parking_lot::Mutex;
use tokio::net::unix::pipe;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vmpool_core::{StepId, StepOutcome};

use crate::boot;
use crate::holder::{LOGS, RECORDS, WAKE};
use crate::log::LogSpace;
use crate::records::{Entry, Reader, Records};

use nursery::Nursery;

pub(crate) use adopt::RESTARTED;
pub(crate) use remove::remove;
pub use stage::{CleanupError, PlannedFile, StageError, StagePlan};
pub(crate) use start::file_name;
pub use start::{StartError, StepOrder};
pub use step::{Cancel, RunningStep, WaitError};

/// The host's directory in that of its agent.
pub(crate) const DIR: &str = "host";

/// How a host works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostConfig {
    /// The host's own directory; created with mode 0700 where it is missing.
    pub dir: PathBuf,
    /// A program that calls [`crate::holder::run_holder_if_asked`] first.
    pub holder_program: PathBuf,
    /// Room for the logs of all steps.
    pub log_space: LogSpace,
    /// How long a step that is over its time or cancelled may take to end by itself.
    pub grace: Duration,
}

impl HostConfig {
    /// A host in `dir` that uses this very program for its holders, with 10 s of grace.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            holder_program: "/proc/self/exe".into(),
            log_space: LogSpace::default(),
            grace: Duration::from_secs(10),
        }
    }
}

/// A host's directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{attempted} {}", path.display())]
pub struct OpenError {
    attempted: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The steps of one stage on this machine.
///
/// Dropping it stops watching the steps and nothing else: they run on under
/// their holders, and a host that is opened on the same directory finds them.
#[derive(Debug)]
pub struct Host {
    shared: Arc<Shared>,
    was_restarted: bool,
    _closes: DropGuard,
}

#[derive(Debug)]
struct Shared {
    config: HostConfig,
    records: Records,
    table: Mutex<Table>,
    /// Starts under way. When the stage is sealed and these have ended, the table is complete.
    starts: TaskTracker,
    watchers: TaskTracker,
    closing: CancellationToken,
    /// There while the stage is.
    nursery: Mutex<Option<Nursery>>,
}

#[derive(Debug)]
struct Table {
    steps: BTreeMap<StepId, RunningStep>,
    /// Steps on their way to their gate.
    starting: HashSet<StepId>,
    /// The stage ends: nothing is started any more.
    sealed: bool,
    records: Reader,
    /// How steps ended, by their holders.
    told: HashMap<StepId, StepOutcome>,
    /// How much of the holders' complaints was told already, in bytes.
    complaints_read: usize,
}

impl Table {
    /// What was added to the records since the last call.
    fn read_news(&mut self) -> Vec<Entry> {
        let news = self.records.news().unwrap_or_else(|error| {
            tracing::error!(%error, "read the steps' records");
            Vec::new()
        });
        for entry in &news {
            if let Entry::Ended { id, outcome } = entry {
                self.told.insert(id.clone(), outcome.clone());
            }
        }
        news
    }
}

impl Host {
    /// Opens the directory and adopts the steps that are found there. Must be
    /// called within a tokio runtime.
    pub fn open(mut config: HostConfig) -> Result<Self, OpenError> {
        config.dir = make_dirs(&config.dir)?;
        let failed = |attempted, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError {
                attempted,
                path,
                source,
            }
        };
        let path = config.dir.join(RECORDS);
        let records = Records::open(&path).map_err(failed("open", &path))?;
        let reader = Reader::open(&path).map_err(failed("read", &path))?;
        let path = config.dir.join(WAKE);
        let wakes = open_wakes(&path).map_err(failed("open", &path))?;
        let table = Table {
            steps: BTreeMap::new(),
            starting: HashSet::new(),
            sealed: false,
            records: reader,
            told: HashMap::new(),
            complaints_read: 0,
        };
        let closing = CancellationToken::new();
        let shared = Arc::new(Shared {
            config,
            records,
            table: Mutex::new(table),
            starts: TaskTracker::new(),
            watchers: TaskTracker::new(),
            closing: closing.clone(),
            nursery: Mutex::default(),
        });
        let dir = &shared.config.dir;
        let boot = boot::id().map_err(failed("read", Path::new(boot::PATH)))?;
        let found = adopt::all(&shared, boot).map_err(failed("adopt the steps in", dir))?;
        shared.table.lock().steps = found.steps;
        // For what came in meanwhile; from now on the holders say when.
        shared.look();
        let watched = shared.clone().watch_wakes(wakes);
        shared
            .watchers
            .spawn(closing.clone().run_until_cancelled_owned(watched));
        Ok(Self {
            shared,
            was_restarted: found.was_restarted,
            _closes: closing.drop_guard(),
        })
    }

    /// The machine was restarted since a host was opened here before: its steps
    /// are over, and what else was on its way is lost.
    pub(crate) fn was_restarted(&self) -> bool {
        self.was_restarted
    }

    /// The step with this id, running or over.
    pub fn step(&self, id: &StepId) -> Option<RunningStep> {
        self.shared.table.lock().steps.get(id).cloned()
    }

    /// All steps, in the order of their ids.
    pub fn steps(&self) -> Vec<RunningStep> {
        self.shared.table.lock().steps.values().cloned().collect()
    }

    /// The runner has the log of this step durably up to `taken`: gives the
    /// space back, and lets steps go on that wait for space.
    pub fn release_log(&self, step: &RunningStep, taken: u64) -> io::Result<()> {
        if step.release_log(taken)? {
            for other in self.steps() {
                other.log_space_came_free();
            }
        }
        Ok(())
    }

    /// The stage's own folder; it goes with the stage.
    pub(crate) fn stage_dir(&self) -> PathBuf {
        self.shared.stage_dir()
    }

    /// Stops watching and waits for what is under way. The steps run on.
    pub async fn close(&self) {
        self.shared.starts.close();
        self.shared.starts.wait().await;
        self.shared.closing.cancel();
        self.shared.watchers.close();
        self.shared.watchers.wait().await;
    }
}

impl Shared {
    fn logs_dir(&self) -> PathBuf {
        self.config.dir.join(LOGS)
    }

    fn complaints_file(&self) -> PathBuf {
        self.config.dir.join("holders.stderr")
    }

    fn stage_dir(&self) -> PathBuf {
        self.config.dir.join("stage")
    }

    fn outside_file(&self) -> PathBuf {
        self.config.dir.join("outside")
    }
}

/// Creates the host's directories; the path of the first without symbolic links.
fn make_dirs(dir: &Path) -> Result<PathBuf, OpenError> {
    let make = |path: PathBuf| {
        let made = make_private_dir(&path);
        made.map_err(|source| OpenError {
            attempted: "create the directory",
            path,
            source,
        })
    };
    make(dir.join(LOGS))?;
    make(dir.join("stage"))?;
    dir.canonicalize().map_err(|source| OpenError {
        attempted: "find",
        path: dir.to_owned(),
        source,
    })
}

/// Opens the FIFO by which holders wake the host, a new one where there is none.
fn open_wakes(path: &Path) -> io::Result<pipe::Receiver> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    // For writing too: it does not end when the last holder does.
    pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)
}

/// Creates the directory and its missing parents for nobody else to look into.
fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}
