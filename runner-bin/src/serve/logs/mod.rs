//! The logs of steps, a file each: `LOGS/<stage>/<step>.log`.

mod file_log;
mod growing;
mod name;

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::task::spawn_blocking;
use vmpool_core::{LogSink, LogSinkError, LogStore, StageId, StepId};

use self::file_log::FileLog;
use self::growing::Growth;
pub(crate) use self::growing::Part;

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
        let opened =
            spawn_blocking(move || FileLog::open(&path, grows).map_err(|e| (path, e))).await;
        match opened {
            Ok(Ok(log)) => Ok(Box::new(log)),
            Ok(Err((path, error))) => Err(broken(format!("open {}: {error}", path.display()))),
            Err(ended) => Err(broken(ended.to_string())),
        }
    }
}

#[cfg(test)]
mod tests;
