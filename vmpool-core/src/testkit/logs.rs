//! Logs of steps in memory, held to the rule: every byte once, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::executor::{LogSink, LogSinkError, LogStore};
use crate::id::{StageId, StepId};

/// Keeps the logs of all steps. Clones keep the same, so that one outlives the
/// runners that write to it.
#[derive(Debug, Clone, Default)]
pub struct MemoryLogs {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    logs: BTreeMap<(StageId, StepId), Log>,
    /// Why nothing is taken.
    broken: Option<String>,
    /// Writes that were not where the log ends.
    misplaced: Vec<LogSinkError>,
}

#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    gaps: Vec<String>,
    opened: u64,
}

impl MemoryLogs {
    /// No logs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A step's log so far, as text.
    pub fn text(&self, stage: &StageId, step: &StepId) -> String {
        self.log(stage, step, |log| {
            String::from_utf8_lossy(&log.bytes).into_owned()
        })
    }

    /// What a step's log was told to miss.
    pub fn gaps(&self, stage: &StageId, step: &StepId) -> Vec<String> {
        self.log(stage, step, |log| log.gaps.clone())
    }

    /// How often a step's log was opened.
    pub fn opened(&self, stage: &StageId, step: &StepId) -> u64 {
        self.log(stage, step, |log| log.opened)
    }

    /// While there is a reason, the store takes nothing.
    pub fn break_down(&self, reason: Option<&str>) {
        self.inner.lock().broken = reason.map(str::to_owned);
    }

    /// Writes that would have doubled bytes or left some out; none were taken.
    pub fn misplaced(&self) -> Vec<LogSinkError> {
        self.inner.lock().misplaced.clone()
    }

    fn log<T: Default>(&self, stage: &StageId, step: &StepId, look: impl Fn(&Log) -> T) -> T {
        let inner = self.inner.lock();
        let log = inner.logs.get(&(stage.clone(), step.clone()));
        log.map(look).unwrap_or_default()
    }
}

#[async_trait]
impl LogStore for MemoryLogs {
    async fn open(&self, stage: &StageId, step: &StepId) -> Result<Box<dyn LogSink>, LogSinkError> {
        let sink = MemorySink {
            logs: self.clone(),
            key: (stage.clone(), step.clone()),
        };
        sink.with(0, |log| log.opened += 1)?;
        Ok(Box::new(sink))
    }
}

struct MemorySink {
    logs: MemoryLogs,
    key: (StageId, StepId),
}

impl MemorySink {
    fn with<T>(&self, offset: u64, on: impl FnOnce(&mut Log) -> T) -> Result<T, LogSinkError> {
        let mut inner = self.logs.inner.lock();
        if let Some(reason) = &inner.broken {
            return Err(LogSinkError {
                step: self.key.1.clone(),
                offset,
                reason: reason.clone(),
            });
        }
        Ok(on(inner.logs.entry(self.key.clone()).or_default()))
    }
}

#[async_trait]
impl LogSink for MemorySink {
    fn position(&self, _: &StepId) -> u64 {
        let length = |log: &Log| log.bytes.len() as u64;
        self.logs.log(&self.key.0, &self.key.1, length)
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        let written = self.with(offset, |log| {
            let end = log.bytes.len() as u64;
            if offset != end {
                return Err(end);
            }
            log.bytes.extend_from_slice(bytes);
            Ok(log.bytes.len() as u64)
        })?;
        written.map_err(|end| {
            let error = LogSinkError {
                step: step.clone(),
                offset,
                reason: format!("the log is {end} bytes long"),
            };
            self.logs.inner.lock().misplaced.push(error.clone());
            error
        })
    }

    async fn sync(&mut self, step: &StepId) -> Result<u64, LogSinkError> {
        let position = self.position(step);
        self.with(position, |_| position)
    }

    async fn gap(&mut self, step: &StepId, reason: &str) -> Result<(), LogSinkError> {
        let position = self.position(step);
        self.with(position, |log| log.gaps.push(reason.to_owned()))
    }
}
