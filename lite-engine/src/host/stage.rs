//! Prepares a stage on the disk, and ends it: no process and no file of it is left.
//!
//! What lies outside of the host's directory (an absolute working directory, a
//! file in it) is written down in `outside` before it is created. Only what is
//! written down there is ever replaced or removed: what was there before the
//! stage is not touched.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vmpool_core::SecretBytes;

use super::beneath::{self, Beneath, Creates};
use super::remove::remove;
use super::step::Cancel;
use super::{Host, Shared};
use crate::limits;

/// A holder that has not ended its step by then is ended itself.
const HOLDER_PATIENCE: Duration = Duration::from_secs(30);

/// The working directory where the setup names none, in the stage's folder.
const DEFAULT_WORKDIR: &str = "work";

/// What a stage needs on the disk before its first step.
#[derive(Clone, Debug, Default)]
pub struct StagePlan {
    /// The working directory. A relative one lies in the stage's own folder;
    /// `None`: a folder of the stage's own.
    pub workdir: Option<PathBuf>,
    /// Files to write. Relative paths lie in the working directory.
    pub files: Vec<PlannedFile>,
}

/// A file that a stage needs.
#[derive(Clone, Debug)]
pub struct PlannedFile {
    /// Where; with a slash at its end a directory, made where there is none.
    pub path: PathBuf,
    /// Permission bits, such as `0o600`.
    pub mode: u32,
    /// What is in it.
    pub content: SecretBytes,
}

impl StagePlan {
    /// Finds paths that lead out and modes that can't be (P13).
    /// [`Host::prepare`] asks this too, before anything is created.
    pub fn check(&self) -> Result<(), StageError> {
        let invalid = |field: String, path: &Path, reason: &str| {
            Err(StageError::Invalid {
                field,
                path: path.to_owned(),
                reason: reason.into(),
            })
        };
        if let Some(workdir) = &self.workdir
            && let Err(reason) = beneath::check(workdir)
        {
            return invalid("workdir".into(), workdir, reason);
        }
        for (index, file) in self.files.iter().enumerate() {
            if let Err(reason) = beneath::check(&file.path) {
                return invalid(format!("files[{index}].path"), &file.path, reason);
            }
            if file.mode > 0o777 {
                return invalid(
                    format!("files[{index}].mode"),
                    &file.path,
                    "gets a mode beyond 0777",
                );
            }
        }
        Ok(())
    }
}

/// Why a stage was not prepared. It may be tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The stage was cleaned up.
    #[error("prepare the stage: it has ended")]
    Ended,
    /// The setup can't be carried out.
    #[error("{field}: {} {reason}", path.display())]
    Invalid {
        /// The field of the setup.
        field: String,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refused something.
    #[error("{field}: create {}", path.display())]
    System {
        /// The field of the setup.
        field: String,
        /// What could not be created.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Something of the stage may be left.
#[derive(Debug, thiserror::Error)]
#[error("clean up the stage: {attempted}")]
pub struct CleanupError {
    attempted: String,
    #[source]
    source: io::Error,
}

impl Host {
    /// Creates the working directory and the files of a stage, and returns the
    /// working directory, absolute. May be repeated.
    ///
    /// # Cancel safety
    /// A dropped call goes on.
    pub async fn prepare(&self, plan: StagePlan) -> Result<PathBuf, StageError> {
        let shared = self.shared.clone();
        self.shared.keep_nursery();
        let prepared = tokio::task::spawn_blocking(move || shared.prepare(&plan));
        prepared.await.unwrap_or_else(|failed| {
            let source = io::Error::other(failed);
            Err(StageError::System {
                field: "setup".into(),
                path: PathBuf::new(),
                source,
            })
        })
    }

    /// Ends the stage: its steps are killed, its files removed, and no step is
    /// started any more. Outcomes and logs stay for a runner that comes back.
    /// May be repeated.
    ///
    /// # Cancel safety
    /// A dropped call goes on.
    pub async fn clean_up(&self) -> Result<(), CleanupError> {
        let cleaned = self.shared.watchers.spawn(clean_up(self.shared.clone()));
        cleaned.await.unwrap_or_else(|failed| {
            Err(CleanupError {
                attempted: "wait".into(),
                source: io::Error::other(failed),
            })
        })
    }
}

async fn clean_up(shared: Arc<Shared>) -> Result<(), CleanupError> {
    shared.table.lock().sealed = true;
    shared.starts.close();
    shared.starts.wait().await;
    drop(shared.nursery.lock().take());
    let steps: Vec<_> = shared.table.lock().steps.values().cloned().collect();
    let failed = |attempted: String| move |source| CleanupError { attempted, source };
    for step in &steps {
        step.cancel(Cancel::AtOnce)
            .map_err(failed(format!("cancel step {}", step.id())))?;
    }
    for step in &steps {
        if tokio::time::timeout(HOLDER_PATIENCE, step.wait())
            .await
            .is_err()
        {
            let killed = step.kill_holder();
            killed.map_err(failed(format!("kill the holder of step {}", step.id())))?;
            let waited = step.wait().await.map_err(io::Error::other);
            waited.map_err(failed(format!("wait for step {}", step.id())))?;
        }
    }
    let removed = tokio::task::spawn_blocking(move || shared.remove_all()).await;
    removed.unwrap_or_else(|error| Err(failed("remove".into())(io::Error::other(error))))
}

impl Shared {
    fn prepare(&self, plan: &StagePlan) -> Result<PathBuf, StageError> {
        plan.check()?;
        if self.table.lock().sealed {
            return Err(StageError::Ended);
        }
        let file = self.outside_file();
        let mut outside = Outside::read(file.clone(), &self.config.dir)
            .map_err(|source| system("setup", &file, source))?;
        let asked = plan
            .workdir
            .as_deref()
            .unwrap_or_else(|| Path::new(DEFAULT_WORKDIR));
        let (base, below) = split(asked, &self.stage_dir());
        let workdir = base.join(&below);
        let made = outside.beneath(&base).make_dir(&below);
        made.map_err(|source| system("workdir", &workdir, source))?;
        for (index, file) in plan.files.iter().enumerate() {
            write(
                &mut outside,
                &format!("files[{index}].path"),
                &workdir,
                file,
            )?;
        }
        Ok(workdir)
    }

    fn remove_all(&self) -> Result<(), CleanupError> {
        let failed = |path: &Path| {
            let attempted = format!("remove {}", path.display());
            move |source| CleanupError { attempted, source }
        };
        let file = self.outside_file();
        let outside = Outside::read(file.clone(), &self.config.dir).map_err(failed(&file))?;
        limits::remove_all(&self.config.dir).map_err(failed(&self.config.dir))?;
        for path in outside.created.iter().chain([&self.stage_dir()]) {
            remove(path).map_err(failed(path))?;
        }
        // Last: whatever fails before can be tried again.
        remove(&file).map_err(failed(&file))
    }
}

fn write(
    outside: &mut Outside,
    field: &str,
    workdir: &Path,
    file: &PlannedFile,
) -> Result<(), StageError> {
    let (base, below) = split(&file.path, workdir);
    let path = base.join(&below);
    let is_dir = file.path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_dir && path.is_dir() {
        return Ok(());
    }
    if !outside.may_replace(&path) {
        let reason = "exists and is not the stage's own".into();
        return Err(StageError::Invalid {
            field: field.into(),
            path,
            reason,
        });
    }
    let written = if is_dir {
        outside.beneath(&base).make_dir_with(&below, file.mode)
    } else {
        outside
            .beneath(&base)
            .write(&below, file.mode, file.content.expose())
    };
    written.map_err(|source| system(field, &path, source))
}

/// Splits a checked path into a directory that is taken as it is, and what lies
/// beneath it, where no link is followed.
fn split(path: &Path, relative_to: &Path) -> (PathBuf, PathBuf) {
    if path.is_relative() {
        return (relative_to.to_owned(), path.to_owned());
    }
    // Links in directories that were there before are the machine's own.
    let base = path
        .ancestors()
        .find(|dir| dir.is_dir())
        .unwrap_or_else(|| Path::new("/"));
    (
        base.to_owned(),
        path.strip_prefix(base).unwrap_or(path).to_owned(),
    )
}

fn system(field: &str, path: &Path, source: io::Error) -> StageError {
    StageError::System {
        field: field.into(),
        path: path.to_owned(),
        source,
    }
}

/// What the stage created outside of the host's own directory.
struct Outside {
    file: PathBuf,
    own: PathBuf,
    created: BTreeSet<PathBuf>,
}

impl Outside {
    fn read(file: PathBuf, own: &Path) -> io::Result<Self> {
        let lines = match fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let created = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            file,
            own: own.to_owned(),
            created,
        })
    }

    fn beneath<'a>(&'a mut self, base: &'a Path) -> Beneath<'a> {
        Beneath {
            base,
            creates: self,
        }
    }

    fn may_replace(&self, path: &Path) -> bool {
        self.covers(path) || fs::symlink_metadata(path).is_err()
    }

    /// Whether cleaning up removes this path anyway.
    fn covers(&self, path: &Path) -> bool {
        path.starts_with(&self.own) || self.created.iter().any(|created| path.starts_with(created))
    }
}

impl Creates for Outside {
    fn creates(&mut self, path: &Path) -> io::Result<()> {
        if self.covers(path) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(path)?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.file)?
            .write_all(&line)?;
        self.created.insert(path.to_owned());
        Ok(())
    }
}
