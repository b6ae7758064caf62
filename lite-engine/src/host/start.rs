//! Starts a step: its holder, its record, and then the step itself.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use vmpool_core::agent::StepRecord;
use vmpool_core::{Limits, Secret, StepId, StepOutcome};

use super::leftovers::MARK;
use super::step::RunningStep;
use super::watch::find;
use super::{Host, Shared, Table};
use crate::holder::{Order, to_frame};
use crate::log::{Progress, StepLog};
use crate::mask::Style;
use crate::records::Entry;
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
    /// Values that the log must not show, as [`crate::mask::Masker::styled`] says.
    pub secrets: Vec<Secret>,
    /// What stands for them.
    pub mask: Style,
    /// What else the log must not show: regular expressions, one a line. A step
    /// with one that can't be compiled is lost at its first output.
    pub expressions: String,
    /// Where the step leaves variables that are secrets ([`crate::output`]):
    /// what is printed after they were written there is masked.
    pub secrets_file: Option<PathBuf>,
    /// Working directory, absolute.
    pub workdir: PathBuf,
    /// Runs as this user (`name`, `uid`, `name:group`, `uid:gid`); `None`: as the host.
    pub user: Option<String>,
    /// From its start; then its processes are ended.
    pub timeout: Option<Duration>,
    /// What its processes may take of the machine together.
    pub limits: Limits,
    /// Lasts as long as any of its processes, not just as long as its main one.
    pub detached: bool,
    /// How long it may take to end by itself once it has to; `None`: as the host's.
    pub grace: Option<Duration>,
    /// What its log begins with, secrets masked as in the rest.
    pub preamble: String,
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
        if self.limits.memory == Some(0) || self.limits.processes == Some(0) {
            return invalid("limits", "leaves no room for a process: a limit is 0");
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
        let shared = &self.shared;
        let known = self.step(&record.id);
        if known
            .as_ref()
            .is_some_and(|step| step.outcome().as_ref() == Some(outcome))
        {
            return Ok(());
        }
        shared.records.add(&Entry::Settled {
            step: record.clone(),
            outcome: outcome.clone(),
        })?;
        if known.is_none() {
            let log = StepLog::new(
                &shared.logs_dir(),
                &file_name(&record.id),
                1,
                outcome.log_end,
            );
            let progress = Progress {
                written: outcome.log_end,
                ended: true,
            };
            let (over, closing) = (Some(outcome.clone()), shared.closing.clone());
            let step = RunningStep::new(record.clone(), log, progress, over, Weak::new(), closing);
            shared.table.lock().steps.insert(record.id.clone(), step);
        }
        Ok(())
    }
}

async fn start(shared: Arc<Shared>, order: StepOrder) -> Result<RunningStep, StartError> {
    let id = order.record.id.clone();
    shared.table.lock().reserve(&id)?;
    let started = let_go(&shared, order).await;
    shared.table.lock().starting.remove(&id);
    started.map_err(|Failed(attempted, source)| StartError::System {
        id,
        attempted,
        source,
    })
}

impl Table {
    /// Takes an id for a step that is about to be started.
    fn reserve(&mut self, id: &StepId) -> Result<(), StartError> {
        let id = id.clone();
        if self.sealed {
            return Err(StartError::StageEnded { id });
        }
        if self.steps.contains_key(&id) || !self.starting.insert(id.clone()) {
            return Err(StartError::AlreadyStarted { id });
        }
        Ok(())
    }
}

/// What was attempted, and what the system said.
struct Failed(&'static str, io::Error);

/// Brings a step to its gate, records it, and opens the gate.
async fn let_go(shared: &Arc<Shared>, order: StepOrder) -> Result<RunningStep, Failed> {
    let mut holder = shared
        .new_holder()
        .map_err(|error| Failed("fork its holder", error))?;
    let step = order.record.clone();
    let order = shared.complete(order);
    let frame = to_frame(&order).map_err(|error| Failed("write its order", error))?;
    let ready = holder.give(&frame).await;
    let id = ready.map_err(|error| Failed("prepare its process", error))?;

    let segment_bytes = order.log_space.segment_bytes;
    let record = step.clone();
    let recorded = shared.records.add(&Entry::Started {
        step: record,
        holder: id,
        segment_bytes,
    });
    recorded.map_err(|error| Failed("record it", error))?;
    let log = StepLog::new(&shared.logs_dir(), &order.name, segment_bytes, 0);
    let running = find(id)
        .and_then(|found| found.ok_or_else(|| ErrorKind::NotFound.into()))
        .and_then(|process| shared.watch(step, log, id, process));
    let running = match running {
        Ok(running) => running,
        Err(error) => {
            holder.give_up().await;
            return Err(Failed("watch its holder", error));
        }
    };
    // It must be known before its holder has anything to tell.
    shared
        .table
        .lock()
        .steps
        .insert(running.id().clone(), running.clone());
    holder.let_go().await;
    Ok(running)
}

impl Shared {
    fn complete(&self, order: StepOrder) -> Order {
        let id = order.record.id;
        let mut env = order.env;
        env.insert(MARK.into(), self.mark(&id));
        // On a machine that is a process of a host: whose process the step is.
        if let Ok(machine) = std::env::var(supervisor::MARK) {
            env.insert(supervisor::MARK.into(), machine);
        }
        Order {
            host: self.config.dir.clone(),
            name: file_name(&id),
            id,
            command: order.command,
            env: env.into_iter().collect(),
            workdir: order.workdir,
            user: order.user,
            secrets: order
                .secrets
                .iter()
                .map(|secret| secret.expose().to_owned())
                .collect(),
            mask: order.mask,
            expressions: order.expressions,
            secrets_file: order.secrets_file,
            timeout: order.timeout,
            limits: order.limits,
            grace: order.grace.unwrap_or(self.config.grace),
            preamble: order.preamble,
            detached: order.detached,
            log_space: self.config.log_space,
        }
    }

    /// What marks the processes of a step, and no others of this system.
    pub(super) fn mark(&self, id: &StepId) -> String {
        self.config
            .dir
            .join(file_name(id))
            .to_string_lossy()
            .into_owned()
    }
}

/// A step's name in files: its id as far as file names allow, else its hash.
pub(crate) fn file_name(id: &StepId) -> String {
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
    fn file_names_are_distinct_and_stay_in_their_directory() {
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
        let files: std::collections::BTreeSet<_> = names
            .iter()
            .map(|name| file_name(&StepId::from(*name)))
            .collect();
        assert_eq!(files.len(), names.len());
        assert!(
            files
                .iter()
                .all(|file| !file.contains('/') && !file.starts_with('.'))
        );
        assert!(files.contains("build"));
    }
}
