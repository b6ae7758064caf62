//! The logs of steps, a file each: `LOGS/<stage>/<step>.log`.

mod file_log;
mod growing;
mod name;
mod returned;

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::task::spawn_blocking;
use vmpool_core::{LogSink, LogSinkError, LogStore, Returned, StageId, StepId};

use self::file_log::FileLog;
use self::growing::Growth;
pub(crate) use self::growing::Part;
pub(crate) use self::returned::write_private;

/// Logs below one directory.
#[derive(Debug, Clone)]
pub(crate) struct FileLogs {
    directory: PathBuf,
    growth: Growth,
}

impl FileLogs {
    /// Logs in `directory`, which is made with the first of them.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            growth: Growth::default(),
        }
    }

    /// Where a step's log is.
    pub(crate) fn path(&self, stage: &StageId, step: &StepId) -> PathBuf {
        let mut path = self.directory.clone();
        path.extend(name::components(stage.as_str(), ""));
        path.extend(name::components(step.as_str(), ".log"));
        path
    }

    /// Where it is kept what log service wants a stage's logs.
    pub(crate) fn target_path(&self, stage: &StageId) -> PathBuf {
        let mut path = self.directory.clone();
        path.extend(name::components(stage.as_str(), ""));
        // No log has such a name: theirs have an ending.
        path.join("log-service")
    }

    /// Where a step's variables are, beside its log.
    fn returned_path(&self, stage: &StageId, step: &StepId) -> PathBuf {
        let mut path = self.directory.clone();
        path.extend(name::components(stage.as_str(), ""));
        path.extend(name::components(step.as_str(), ".returned"));
        path
    }
}

#[async_trait]
impl LogStore for FileLogs {
    async fn open(&self, stage: &StageId, step: &StepId) -> Result<Box<dyn LogSink>, LogSinkError> {
        let path = self.path(stage, step);
        let broken = |reason: String| LogSinkError {
            step: step.clone(),
            offset: 0,
            reason,
        };
        let grows = self.growth.of(&path);
        let returned = self.returned_path(stage, step);
        let open = move || FileLog::open(&path, returned, grows).map_err(|e| (path, e));
        let opened = spawn_blocking(open).await;
        match opened {
            Ok(Ok(log)) => Ok(Box::new(log)),
            Ok(Err((path, error))) => Err(broken(format!("open {}: {error}", path.display()))),
            Err(ended) => Err(broken(ended.to_string())),
        }
    }

    async fn returned(&self, stage: &StageId, step: &StepId) -> Result<Returned, LogSinkError> {
        let path = self.returned_path(stage, step);
        // Most steps return nothing: to find that out is one look at a folder.
        returned::read(&path).map_err(|error| LogSinkError {
            step: step.clone(),
            offset: 0,
            reason: format!("read {}: {error}", path.display()),
        })
    }
}

#[cfg(test)]
mod tests;
