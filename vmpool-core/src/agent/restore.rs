//! The rules of an agent that starts on a machine where an earlier one ran:
//! it was restarted, or the machine was.
//!
//! A restarted agent goes on with its stage; steps that can't be found are
//! lost. A rebooted machine does not: its step records were not fsynced, so
//! what has run there can't be known, and the stage ends. Its results stay.

use crate::agent::fence::Fence;
use crate::agent::stage::Stage;
use crate::agent::steps::StepPhase;
use crate::agent::{
    Effect, EndReason, FenceRecord, KillWhy, Moment, Rules, Settings, StageRecord, StepRecord,
};
use crate::step::{StepOutcome, StepStatus};

/// What an agent finds of its predecessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// There is a certificate.
    pub enrolled: bool,
    /// The last [`Effect::SyncFence`]. An error where there is one that can't
    /// be read: then the machine ends, because it could serve a second stage.
    pub fence: Result<Option<FenceRecord>, String>,
    /// The last [`Effect::RecordStage`], if it can be read.
    pub stage: Option<StageRecord>,
    /// Every step with a record, in any order. One without a result of which
    /// the driver is certain that it never ran may be left out, and its record
    /// removed: it may be started then.
    pub steps: Vec<FoundStep>,
}

/// A step with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundStep {
    /// The record.
    pub record: StepRecord,
    /// What was found of it.
    pub found: Found,
    /// Bytes of its log.
    pub log_end: u64,
    /// Where its log begins: what was forgotten of it was acknowledged.
    pub acknowledged: u64,
}

/// What is left of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its holder is there, and the driver has it again.
    Running,
    /// It has this result: the recorded one, else its holder's.
    Ended(StepOutcome),
    /// Neither.
    Gone,
}

impl Rules {
    /// The rules as they go on. With nothing found they begin, as by
    /// [`Rules::new`]. The effects are to be carried out before anything else.
    pub fn restore(settings: Settings, remains: Remains, now: Moment) -> (Self, Vec<Effect>) {
        let mut rules = Self::new(settings);
        if remains.enrolled {
            rules.dead_man.contact(now.up);
        }
        match remains.fence {
            Ok(Some(record)) => rules.fence = Fence::restore(record),
            Ok(None) => {}
            Err(reason) => {
                let effects = rules.end_machine(EndReason::StateLost { reason }, now);
                return (rules, effects);
            }
        }
        let Some(claim) = rules.fence.stage() else {
            if remains.steps.is_empty() {
                return (rules, Vec::new());
            }
            let reason = "there are steps, and no stage".into();
            let effects = rules.end_machine(EndReason::StateLost { reason }, now);
            return (rules, effects);
        };
        let progress = remains.stage.filter(|record| record.id == claim.id);
        rules.stage = Stage::restore(progress.as_ref(), !remains.steps.is_empty());
        let mut effects = rules.cross_reboot(now);
        effects.extend(
            remains
                .steps
                .iter()
                .filter_map(|step| rules.take_over(step, now)),
        );
        effects.extend(rules.stop_by_deadline(now));
        effects.extend(rules.begin_clean_up());
        (rules, effects)
    }

    /// On another boot the stage's deadline is now, in the durable fence too:
    /// it has ended, however often the machine is restarted after this.
    fn cross_reboot(&mut self, now: Moment) -> Vec<Effect> {
        let boot = self.settings.boot.clone();
        if *self.fence.boot() == boot {
            return Vec::new();
        }
        self.fence.rebase(boot, now.up);
        let mut effects: Vec<_> = self
            .fence
            .unsynced()
            .map(Effect::SyncFence)
            .into_iter()
            .collect();
        if self.stage.rebase(now.up) {
            effects.extend(self.record_stage());
        }
        effects
    }

    fn take_over(&mut self, step: &FoundStep, now: Moment) -> Option<Effect> {
        let FoundStep {
            record,
            found,
            log_end,
            acknowledged,
        } = step;
        let phase = match found {
            Found::Ended(outcome) => StepPhase::Ended(outcome.clone()),
            Found::Running | Found::Gone => StepPhase::Running,
        };
        self.steps.restore(record, phase, *log_end, *acknowledged);
        match found {
            Found::Running if self.stage.phase().has_ended() => {
                let doom = self.doom(KillWhy::Cancelled, now);
                self.steps.kill(&record.id, doom)
            }
            Found::Gone => {
                let reason = "no process of it was found when the agent restarted".into();
                self.steps
                    .settle(&record.id, StepStatus::Lost { reason }, now)
            }
            Found::Running | Found::Ended(_) => None,
        }
    }
}
