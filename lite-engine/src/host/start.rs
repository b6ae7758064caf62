//! Starts a step: its directory, its holder, its record, and then the step itself.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use vmpool_core::agent::StepRecord;
use vmpool_core::{Secret, StepId, StepOutcome};

use super::leftovers::MARK;
use super::nursery::Holder;
use super::record::Record;
use super::step::{RunningStep, Watcher};
use super::{Host, Shared};
use crate::holder::{Order, WAKE, to_frame, write_result};
use crate::supervisor;

/// A step to be started.
#[derive(Clone)]
pub struct StepOrder {
    /// What the step is recorded as before it begins, with the caller's id. A
    /// second step of the same id is refused.
    pub record: StepRecord,
    /// Program and arguments; a program without `/` is looked for in the `PATH` of `env`.
    pub command: Vec<String>,
    /// The step's whole environment; nothing of the host's own is added.
    pub env: BTreeMap<String, String>,
    /// Values that the log must not show, as [`crate::mask::Masker::new`] says.
    pub secrets: Vec<Secret>,
    /// Working directory, absolute.
    pub workdir: PathBuf,
    /// Runs as this user (`name`, `uid`, `name:group`, `uid:gid`); `None`: as the host.
    pub user: Option<String>,
    /// From its start; then its processes are ended.
    pub timeout: Option<Duration>,
    /// Lasts as long as any of its processes, not just as long as its main one.
    pub detached: bool,
}

/// Shows neither environment nor arguments: both may hold secrets.
impl fmt::Debug for StepOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepOrder")
            .field("id", &self.record.id)
            .field("program", &self.command.first())
            .field("workdir", &self.workdir)
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .field("detached", &self.detached)
            .finish_non_exhaustive()
    }
}

/// Why a step was not started. It never ran then, and apart from the first
/// three it may be started again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A step of this id was started before.
    #[error("start step {id}: it was started before")]
    AlreadyStarted {
        /// The id.
        id: StepId,
    },
    /// The stage is being cleaned up.
    #[error("start step {id}: the stage has ended")]
    StageEnded {
        /// The id.
        id: StepId,
    },
    /// The order can't be carried out.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field of the order.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused something.
    #[error("start step {id}: {attempted}")]
    System {
        /// The id.
        id: StepId,
        /// What was attempted.
        attempted: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The host was closed meanwhile.
    #[error("start step {id}: the host was closed")]
    Closed {
        /// The id.
        id: StepId,
    },
}

impl StepOrder {
    /// Finds what no system call would take (P13). [`Host::start`] asks this
    /// too, before anything is created.
    pub fn check(&self) -> Result<(), StartError> {
        let invalid = |field, reason: &str| {
            Err(StartError::Invalid {
                field,
                reason: reason.into(),
            })
        };
        if self.command.first().is_none_or(String::is_empty) {
            return invalid("command", "names no program");
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            return invalid("command", "contains a NUL character");
        }
        if self
            .env
            .keys()
            .any(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            return invalid("env", "a name is empty or contains `=` or a NUL character");
        }
        if let Some((name, _)) = self.env.iter().find(|(_, value)| value.contains('\0')) {
            return invalid(
                "env",
                &format!("the value of {name} contains a NUL character"),
            );
        }
        match self.workdir.to_str() {
            Some(path) if !path.contains('\0') && self.workdir.is_absolute() => Ok(()),
            _ => invalid("workdir", "is not an absolute path in UTF-8"),
        }
    }
}

impl Host {
    /// Starts a step. It is recorded before its program is executed. A program
    /// that can't be executed is no error here: the step then ends `NotStarted`.
    ///
    /// # Cancel safety
    /// A dropped call goes on; [`Host::step`] finds the step.
    pub async fn start(&self, order: StepOrder) -> Result<RunningStep, StartError> {
        order.check()?;
        let id = order.record.id.clone();
        let shared = self.shared.clone();
        let started = self.shared.starts.spawn(start(shared, order));
        started.await.unwrap_or(Err(StartError::Closed { id }))
    }
}

impl Host {
    /// Writes down how a step ended in the end. It counts whatever its holder
    /// tells, also after a restart. A step that could not be started is known
    /// from then on, and can't be started any more.
    pub fn record_result(&self, record: &StepRecord, outcome: &StepOutcome) -> io::Result<()> {
        if let Some(step) = self.step(&record.id) {
            if step.outcome().as_ref() == Some(outcome) {
                return Ok(());
            }
            return write_result(step.dir(), outcome);
        }
        let dir = self.shared.steps_dir().join(dir_name(&record.id));
        DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
        let segment_bytes = self.shared.config.log_space.segment_bytes;
        let known = Record {
            step: record.clone(),
            holder: None,
            segment_bytes,
        };
        write_result(&dir, outcome)?;
        known.write(&dir)?;
        let step = RunningStep::ended(&dir, &known, outcome.clone());
        self.shared
            .table
            .lock()
            .steps
            .insert(record.id.clone(), step);
        Ok(())
    }
}

async fn start(shared: Arc<Shared>, order: StepOrder) -> Result<RunningStep, StartError> {
    let id = order.record.id.clone();
    if shared.table.lock().sealed {
        return Err(StartError::StageEnded { id });
    }
    let dir = shared.steps_dir().join(dir_name(&id));
    let launched = match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => launch(&shared, order, &dir).await,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(StartError::AlreadyStarted { id });
        }
        Err(error) => Err(Failed("create its directory", error)),
    };
    match launched {
        Ok((step, watcher)) => {
            shared.watchers.spawn(watcher.run(shared.closing.clone()));
            shared.table.lock().steps.insert(id, step.clone());
            Ok(step)
        }
        Err(Failed(attempted, source)) => {
            // It was not let go, so no trace of it is needed.
            let _ = fs::remove_dir_all(&dir);
            Err(StartError::System {
                id,
                attempted,
                source,
            })
        }
    }
}

/// What was attempted, and what the system said.
struct Failed(&'static str, io::Error);

async fn launch(
    shared: &Shared,
    order: StepOrder,
    dir: &Path,
) -> Result<(RunningStep, Watcher), Failed> {
    mkfifo(&dir.join(WAKE), Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| Failed("create its FIFO", errno.into()))?;
    let mut holder = shared
        .new_holder()
        .map_err(|error| Failed("fork its holder", error))?;
    match prepare(shared, order, dir, &mut holder).await {
        Ok(prepared) => {
            holder.let_go().await;
            Ok(prepared)
        }
        Err(failed) => {
            // Nothing may be written after the removal of the directory.
            holder.abandon().await;
            Err(failed)
        }
    }
}

/// Brings the step to its gate and records it.
async fn prepare(
    shared: &Shared,
    order: StepOrder,
    dir: &Path,
    holder: &mut Holder,
) -> Result<(RunningStep, Watcher), Failed> {
    let step = order.record.clone();
    let order = shared.complete(order, dir);
    let frame = to_frame(&order).map_err(|error| Failed("write its order", error))?;
    let at_gate = holder.give(&frame).await;
    let at_gate = at_gate.map_err(|error| Failed("prepare its process", error))?;
    let segment_bytes = order.log_space.segment_bytes;
    let record = Record {
        step,
        holder: Some(at_gate),
        segment_bytes,
    };
    record
        .write(dir)
        .map_err(|error| Failed("record it", error))?;
    record
        .find_holder()
        .and_then(|found| found.ok_or_else(|| ErrorKind::NotFound.into()))
        .and_then(|process| RunningStep::running(dir.to_owned(), record, process))
        .map_err(|error| Failed("watch its holder", error))
}

impl Shared {
    fn complete(&self, order: StepOrder, dir: &Path) -> Order {
        let mut env = order.env;
        env.insert(MARK.into(), dir.to_string_lossy().into_owned());
        // On a machine that is a process of a host: whose process the step is.
        if let Ok(machine) = std::env::var(supervisor::MARK) {
            env.insert(supervisor::MARK.into(), machine);
        }
        Order {
            dir: dir.to_owned(),
            command: order.command,
            env: env.into_iter().collect(),
            workdir: order.workdir,
            user: order.user,
            secrets: order
                .secrets
                .iter()
                .map(|secret| secret.expose().to_owned())
                .collect(),
            timeout: order.timeout,
            grace: self.config.grace,
            detached: order.detached,
            log_space: self.config.log_space,
        }
    }
}

/// A step's directory: its id as far as file names allow, else its hash.
fn dir_name(id: &StepId) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let id = id.as_str();
    if id.len() <= 64 && !id.is_empty() && id.as_bytes().iter().all(plain) {
        return id.to_owned();
    }
    let hash = digest(&SHA256, id.as_bytes());
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    // The dot keeps it apart from every id that is written as it is.
    format!("sha256.{}", hex.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_are_distinct_and_stay_in_their_directory() {
        let long = "x".repeat(65);
        let names = [
            "build",
            "..",
            "../x",
            "a/b",
            "a b",
            "ä",
            "sha256",
            long.as_str(),
        ];
        let dirs: std::collections::BTreeSet<_> = names
            .iter()
            .map(|name| dir_name(&StepId::from(*name)))
            .collect();
        assert_eq!(dirs.len(), names.len());
        assert!(
            dirs.iter()
                .all(|dir| !dir.contains('/') && !dir.starts_with('.'))
        );
        assert!(dirs.contains("build"));
    }
}
