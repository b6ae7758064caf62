//! The logs of steps, and what of them survives a crash of their runner.
//!
//! What was written is durable when more has been written or when it was
//! synced, sometimes at once; what is not durable when its runner dies is lost
//! from some byte on.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::life::Life;
use super::world::World;
use crate::executor::{LogSink, LogSinkError, LogStore};
use crate::id::{StageId, StepId};

type Key = (StageId, StepId);

#[derive(Debug, Default)]
pub(super) struct Logs(Mutex<BTreeMap<Key, File>>);

/// One step's log.
#[derive(Debug, Default, Clone)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    durable: usize,
    /// The life that wrote what is not durable.
    by: String,
    /// Its machine could not be emptied.
    pub(super) gap: Option<String>,
}

impl Logs {
    /// What there is of a step's log.
    pub(super) fn of(&self, stage: &StageId, step: &StepId) -> File {
        let key = (stage.clone(), step.clone());
        self.0.lock().get(&key).cloned().unwrap_or_default()
    }

    /// A runner has died: some of what it wrote last is lost.
    pub(super) fn crash(&self, world: &World, life: &Life) {
        for file in self.0.lock().values_mut() {
            if file.by == life.name() && file.durable < file.bytes.len() {
                let kept = world
                    .dice
                    .below((file.bytes.len() - file.durable) as u64 + 1);
                let kept = usize::try_from(kept).unwrap_or_default();
                file.bytes.truncate(file.durable + kept);
                file.durable = file.bytes.len();
            }
        }
    }
}

/// The logs as one life of a runner sees them.
pub(super) struct SimLogs {
    pub(super) world: Arc<World>,
    pub(super) life: Arc<Life>,
}

struct Sink {
    world: Arc<World>,
    life: Arc<Life>,
    key: Key,
    /// Up to where this sink knows the log to be durable.
    position: u64,
}

#[async_trait]
impl LogStore for SimLogs {
    async fn open(&self, stage: &StageId, step: &StepId) -> Result<Box<dyn LogSink>, LogSinkError> {
        let entered = self.life.enter(&format!("open the log of {step}")).await;
        let key = (stage.clone(), step.clone());
        let position = {
            let mut files = self.world.logs.0.lock();
            let file = files.entry(key.clone()).or_default();
            file.durable as u64
        };
        self.life
            .leave(entered, &format!("it is at {position}"))
            .await;
        if entered.fails {
            return Err(broken(step, position));
        }
        Ok(Box::new(Sink {
            world: self.world.clone(),
            life: self.life.clone(),
            key,
            position,
        }))
    }
}

fn broken(step: &StepId, offset: u64) -> LogSinkError {
    LogSinkError {
        step: step.clone(),
        offset,
        reason: "the disk is full".to_owned(),
    }
}

impl Sink {
    /// Takes the bytes; those that are there already must be the same.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<u64, LogSinkError> {
        let (stage, step) = &self.key;
        let mut files = self.world.logs.0.lock();
        let file = files.entry(self.key.clone()).or_default();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(there) = file.bytes.get(at..) else {
            let len = file.bytes.len();
            self.world.trace.wrong(format_args!(
                "P4: the log of {step} of {stage} is {len} bytes long, and goes on at {offset}"
            ));
            return Err(broken(step, offset));
        };
        let same = there.len().min(bytes.len());
        if there[..same] != bytes[..same] {
            self.world.trace.wrong(format_args!(
                "P4: the log of {step} of {stage} has other bytes at {offset}"
            ));
            return Err(broken(step, offset));
        }
        let before = file.bytes.len();
        file.bytes.extend_from_slice(&bytes[same..]);
        if file.bytes.len() == before || self.world.dice.chance(50) {
            file.durable = file.bytes.len();
        } else {
            file.durable = file.durable.max(at);
        }
        self.life.name().clone_into(&mut file.by);
        self.position = file.durable as u64;
        Ok(self.position)
    }
}

#[async_trait]
impl LogSink for Sink {
    fn position(&self, _: &StepId) -> u64 {
        self.position
    }

    async fn write(
        &mut self,
        step: &StepId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, LogSinkError> {
        let what = format!("log {} bytes of {step} at {offset}", bytes.len());
        let entered = self.life.enter(&what).await;
        let fails = self.world.dice.chance(self.world.weather().log_fails);
        let kept = if entered.fails || fails {
            Err(broken(step, offset))
        } else {
            if entered.twice {
                drop(self.take(offset, bytes));
            }
            self.take(offset, bytes)
        };
        let heard = match &kept {
            Ok(position) => format!("durable up to {position}"),
            Err(error) => error.to_string(),
        };
        self.life.leave(entered, &heard).await;
        kept
    }

    async fn sync(&mut self, step: &StepId) -> Result<u64, LogSinkError> {
        let entered = self.life.enter(&format!("sync the log of {step}")).await;
        let position = {
            let mut files = self.world.logs.0.lock();
            let file = files.entry(self.key.clone()).or_default();
            if !entered.fails {
                file.durable = file.bytes.len();
            }
            file.durable as u64
        };
        self.position = position;
        self.life
            .leave(entered, &format!("it is at {position}"))
            .await;
        if entered.fails {
            return Err(broken(step, position));
        }
        Ok(position)
    }

    async fn gap(&mut self, step: &StepId, reason: &str) -> Result<(), LogSinkError> {
        let entered = self
            .life
            .enter(&format!("gap in the log of {step}: {reason}"))
            .await;
        if !entered.fails {
            let mut files = self.world.logs.0.lock();
            let file = files.entry(self.key.clone()).or_default();
            file.gap = Some(reason.to_owned());
        }
        self.life.leave(entered, "done").await;
        if entered.fails {
            return Err(broken(step, self.position));
        }
        Ok(())
    }
}
