//! The table of a stage's steps.
//!
//! ```text
//!          spawn            started            killed
//! absent ───────► starting ─────────► running ───────► killing
//!                    │                   │                │
//!                    └───────────────────┴────────────────┴──► ended
//! ```
//!
//! Invariants:
//! - A step never leaves the table, so its id is never spawned twice.
//! - A step ends once: the first result counts, later ones are ignored.
//! - `acknowledged ≤ log_end`, and neither sinks.
//! - A step that was to be killed and did not end in time ends `lost`: no step
//!   stays unended for ever (P10).
//! - Steps and the texts of their results are bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::agent::{Content, Effect, KillWhy, Moment, StepRecord};
use crate::clock::Timestamp;
use crate::id::StepId;
use crate::step::{StepOutcome, StepStatus};

/// Longest reason that is kept of a step that was not started or is lost, in bytes.
pub const MAX_REASON_LEN: usize = 1024;

/// A step in the agent's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEntry {
    content: Content,
    started_at: Timestamp,
    phase: StepPhase,
    log_end: u64,
    acknowledged: u64,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepPhase {
    /// Its holder is being made.
    Starting {
        /// It is to be killed as soon as it runs.
        doomed: Option<Doom>,
    },
    /// It runs.
    Running,
    /// It is being ended.
    Killing(Doom),
    /// It has ended.
    Ended(StepOutcome),
}

/// A step's coming end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doom {
    /// Why.
    pub why: KillWhy,
    /// If it has not ended by then, since boot, it is given up as lost.
    pub by: Duration,
}

impl StepEntry {
    /// What was asked for.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// How far it is.
    pub fn phase(&self) -> &StepPhase {
        &self.phase
    }

    /// Its result, once it has ended.
    pub fn outcome(&self) -> Option<&StepOutcome> {
        match &self.phase {
            StepPhase::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Bytes of its log, as far as they were told.
    pub fn log_end(&self) -> u64 {
        self.log_end
    }

    /// Up to where a runner has its log durably.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn doom(&self) -> Option<Doom> {
        match self.phase {
            StepPhase::Starting { doomed } => doomed,
            StepPhase::Killing(doom) => Some(doom),
            StepPhase::Running | StepPhase::Ended(_) => None,
        }
    }
}

/// All steps that this machine has ever been asked to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Steps(BTreeMap<StepId, StepEntry>);

impl Steps {
    pub(super) fn get(&self, id: &StepId) -> Option<&StepEntry> {
        self.0.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&StepId, &StepEntry)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn all_ended(&self) -> bool {
        self.0.values().all(|step| step.outcome().is_some())
    }

    /// Takes a step that the table does not have, and asks for its start.
    pub(super) fn start(&mut self, id: StepId, content: Content, now: Moment) -> [Effect; 2] {
        debug_assert!(!self.0.contains_key(&id), "no step starts twice");
        let record = StepRecord {
            id: id.clone(),
            content,
            started_at: now.at,
        };
        self.insert(&record, StepPhase::Starting { doomed: None }, 0, 0);
        [Effect::RecordStep(record), Effect::Spawn { step: id }]
    }

    /// Takes a step that an earlier agent of this machine has started.
    pub(super) fn restore(
        &mut self,
        record: &StepRecord,
        phase: StepPhase,
        log_end: u64,
        acknowledged: u64,
    ) {
        self.insert(record, phase, log_end.max(acknowledged), acknowledged);
    }

    fn insert(&mut self, record: &StepRecord, phase: StepPhase, log_end: u64, acknowledged: u64) {
        let entry = StepEntry {
            content: record.content.clone(),
            started_at: record.started_at,
            phase,
            log_end,
            acknowledged,
        };
        self.0.insert(record.id.clone(), entry);
    }

    /// The step's process runs. One that was given up meanwhile is ended at once.
    pub(super) fn started(&mut self, id: &StepId, now: Moment) -> Option<Effect> {
        let entry = self.0.get_mut(id)?;
        match entry.phase {
            StepPhase::Starting { doomed } => {
                entry.started_at = now.at;
                entry.phase = doomed.map_or(StepPhase::Running, StepPhase::Killing);
                doomed.map(|Doom { why, .. }| Effect::Kill {
                    step: id.clone(),
                    why,
                })
            }
            StepPhase::Ended(StepOutcome {
                status: StepStatus::Lost { .. },
                ..
            }) => Some(Effect::Kill {
                step: id.clone(),
                why: KillWhy::Cancelled,
            }),
            StepPhase::Running | StepPhase::Killing(_) | StepPhase::Ended(_) => None,
        }
    }

    /// Ends a step. The first reason counts.
    pub(super) fn kill(&mut self, id: &StepId, doom: Doom) -> Option<Effect> {
        let entry = self.0.get_mut(id)?;
        match &mut entry.phase {
            StepPhase::Starting { doomed } => {
                doomed.get_or_insert(doom);
                None
            }
            StepPhase::Running => {
                entry.phase = StepPhase::Killing(doom);
                Some(Effect::Kill {
                    step: id.clone(),
                    why: doom.why,
                })
            }
            StepPhase::Killing(_) | StepPhase::Ended(_) => None,
        }
    }

    /// Ends all steps.
    pub(super) fn kill_all(&mut self, doom: Doom) -> Vec<Effect> {
        let ids: Vec<_> = self.0.keys().cloned().collect();
        ids.iter().filter_map(|id| self.kill(id, doom)).collect()
    }

    /// The step has ended; its holder says how. The log's end is never below
    /// what was told or acknowledged before.
    pub(super) fn ended(&mut self, id: &StepId, told: StepOutcome) -> Option<Effect> {
        let entry = self
            .0
            .get_mut(id)
            .filter(|entry| entry.outcome().is_none())?;
        let status = match entry.doom() {
            Some(Doom { why, .. }) => why.settle(told.status),
            None => told.status,
        };
        entry.log_end = entry.log_end.max(told.log_end);
        let outcome = StepOutcome {
            status: bounded(status),
            log_end: entry.log_end,
            ..told
        };
        entry.phase = StepPhase::Ended(outcome.clone());
        Some(Effect::RecordResult {
            step: id.clone(),
            outcome,
        })
    }

    /// The step has ended, and only the rules know how.
    pub(super) fn settle(
        &mut self,
        id: &StepId,
        status: StepStatus,
        now: Moment,
    ) -> Option<Effect> {
        let entry = self.0.get(id)?;
        let outcome = StepOutcome {
            status,
            started_at: entry.started_at,
            ended_at: now.at.max(entry.started_at),
            log_end: entry.log_end,
        };
        self.ended(id, outcome)
    }

    /// Gives up the steps that were to end by now and did not.
    pub(super) fn give_up(&mut self, now: Moment) -> Vec<Effect> {
        let overdue = |entry: &StepEntry| entry.doom().is_some_and(|doom| doom.by <= now.up);
        let ids: Vec<_> = self
            .0
            .iter()
            .filter(|(_, entry)| overdue(entry))
            .map(|(id, _)| id.clone())
            .collect();
        let lost = || StepStatus::Lost {
            reason: "its processes could not be ended in time".into(),
        };
        ids.iter()
            .filter_map(|id| self.settle(id, lost(), now))
            .collect()
    }

    /// When the next step is given up.
    pub(super) fn next_doom(&self) -> Option<Duration> {
        self.0
            .values()
            .filter_map(StepEntry::doom)
            .map(|doom| doom.by)
            .min()
    }

    /// The step's log has grown.
    pub(super) fn output(&mut self, id: &StepId, log_end: u64) {
        if let Some(entry) = self.0.get_mut(id).filter(|entry| entry.outcome().is_none()) {
            entry.log_end = entry.log_end.max(log_end);
        }
    }

    /// A runner has the log up to `offset`, which the log has reached.
    pub(super) fn acknowledge(&mut self, id: &StepId, offset: u64) -> Option<Effect> {
        let entry = self
            .0
            .get_mut(id)
            .filter(|entry| entry.acknowledged < offset)?;
        debug_assert!(offset <= entry.log_end, "checked by the caller");
        entry.acknowledged = offset;
        Some(Effect::ForgetLog {
            step: id.clone(),
            up_to: offset,
        })
    }
}

/// The status with its reason cut to what is kept.
fn bounded(mut status: StepStatus) -> StepStatus {
    if let StepStatus::NotStarted { reason } | StepStatus::Lost { reason } = &mut status
        && reason.len() > MAX_REASON_LEN
    {
        reason.truncate(reason.floor_char_boundary(MAX_REASON_LEN));
    }
    status
}
