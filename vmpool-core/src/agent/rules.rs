//! The rules as one value: calls and events in, effects out.
//!
//! This file decides who may do what, and in which order; what a fence, a
//! clock, a stage or a step is, their own files say.

use std::time::Duration;

use crate::agent::clocks::DeadMan;
use crate::agent::fence::Fence;
use crate::agent::stage::Stage;
use crate::agent::steps::Steps;
use crate::agent::{
    BootId, Call, Clocks, Content, Doom, Effect, EndReason, Event, KillWhy, Moment, Refusal,
    StageClaim, StagePhase,
};
use crate::id::{StageId, StepId};
use crate::step::StepStatus;

/// The end of the machine is asked for again after this long.
const END_AGAIN: Duration = Duration::from_secs(10);

/// What an agent is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The dead-man's clocks, from the machine's order.
    pub clocks: Clocks,
    /// The present boot.
    pub boot: BootId,
    /// Steps of the stage at most, ended ones included.
    pub max_steps: usize,
    /// A step that is being ended and has not ended after this long is lost.
    pub kill_within: Duration,
}

impl Settings {
    /// Settings with the default bounds: 4096 steps, 30 s to end one.
    pub fn new(clocks: Clocks, boot: BootId) -> Self {
        Self {
            clocks,
            boot,
            max_steps: 4096,
            kill_within: Duration::from_secs(30),
        }
    }
}

/// The rules that an agent keeps, and all that it must know to keep them.
///
/// How to drive them is told by the [module](crate::agent).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub(super) settings: Settings,
    pub(super) fence: Fence,
    pub(super) dead_man: DeadMan,
    pub(super) stage: Stage,
    pub(super) steps: Steps,
    pub(super) over: Option<Over>,
}

/// The machine is being ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) why: EndReason,
    again_at: Duration,
}

impl Rules {
    /// The rules of a machine that has just booted for the first time.
    pub fn new(settings: Settings) -> Self {
        Self {
            fence: Fence::new(settings.boot.clone()),
            dead_man: DeadMan::new(settings.clocks),
            stage: Stage::new(),
            steps: Steps::default(),
            over: None,
            settings,
        }
    }

    /// What a runner asks. The effects are to be carried out in their order,
    /// before the call is answered.
    ///
    /// # Errors
    /// The call is refused, and has changed nothing.
    pub fn call(&mut self, call: Call, now: Moment) -> Result<Vec<Effect>, Refusal> {
        if let Some(Over { why, .. }) = &self.over {
            return Err(Refusal::MachineEnding { why: why.clone() });
        }
        if !self.dead_man.is_enrolled() {
            return Err(Refusal::NotEnrolled);
        }
        let mut effects = match call {
            Call::Open { term } => {
                self.fence.open(term)?;
                self.dead_man.contact(now.up);
                Vec::new()
            }
            Call::Renew { term } => {
                self.fence.check(term)?;
                self.dead_man.contact(now.up);
                Vec::new()
            }
            Call::Prepare {
                term,
                stage,
                lasts,
                content,
            } => {
                self.fence.check(term)?;
                let deadline = now.up.saturating_add(lasts);
                self.prepare(StageClaim {
                    id: stage,
                    content,
                    deadline,
                })?
            }
            Call::Start {
                term,
                stage,
                step,
                content,
            } => {
                self.fence.check(term)?;
                self.start(&stage, step, content, now)?
            }
            Call::Acknowledge {
                term,
                stage,
                step,
                offset,
            } => {
                self.fence.check(term)?;
                let log_end = self.attach(&stage, &step)?.log_end();
                if offset > log_end {
                    return Err(Refusal::BeyondLog {
                        step,
                        offset,
                        log_end,
                    });
                }
                self.steps.acknowledge(&step, offset).into_iter().collect()
            }
            Call::Cancel { term, stage, step } => {
                self.fence.check(term)?;
                self.attach(&stage, &step)?;
                let doom = self.doom(KillWhy::Cancelled, now);
                self.steps.kill(&step, doom).into_iter().collect()
            }
            Call::Hold { term, stage, lasts } => {
                self.fence.check(term)?;
                self.fence.claim_of(&stage)?;
                self.hold(lasts)
            }
            Call::Cleanup { term, stage } => {
                self.fence.check(term)?;
                self.fence.claim_of(&stage)?;
                self.stage.let_go();
                if self.stage.clean_up_again() {
                    vec![Effect::CleanUp { stage }]
                } else {
                    let mut effects = self.stop(KillWhy::Cancelled, now);
                    // One that was held had stopped before.
                    effects.extend(self.begin_clean_up());
                    effects
                }
            }
        };
        if let Some(record) = self.fence.unsynced() {
            effects.insert(0, Effect::SyncFence(record));
        }
        Ok(effects)
    }

    /// What the driver tells. The effects are to be carried out in their order.
    pub fn event(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let mut effects = match event {
            Event::Enrolled => {
                if !self.dead_man.is_enrolled() {
                    self.dead_man.contact(now.up);
                }
                Vec::new()
            }
            Event::FenceSynced { revision } => {
                self.fence.synced(revision);
                self.begin_prepare().into_iter().collect()
            }
            Event::Prepared => self.prepared(Ok(())),
            Event::PrepareFailed { reason } => self.prepared(Err(reason)),
            Event::StepStarted { step } => self.steps.started(&step, now).into_iter().collect(),
            Event::StepNotStarted { step, reason } => {
                let status = StepStatus::NotStarted { reason };
                self.steps.settle(&step, status, now).into_iter().collect()
            }
            Event::Output { step, log_end } => {
                self.steps.output(&step, log_end);
                Vec::new()
            }
            Event::StepEnded { step, outcome } => {
                self.steps.ended(&step, outcome).into_iter().collect()
            }
            Event::CleanedUp => self.cleaned_up(Ok(())),
            Event::CleanUpFailed { reason } => self.cleaned_up(Err(reason)),
            Event::ParentClosed if self.over.is_none() && self.dead_man.is_attached() => {
                self.end_machine(EndReason::ParentClosed, now)
            }
            Event::ParentClosed => Vec::new(),
            Event::Tick => self.tick(now),
        };
        effects.extend(self.begin_clean_up());
        effects
    }

    /// When [`Event::Tick`] is due, since boot. A tick before that changes
    /// nothing. Any call or event may bring it forward or put it off.
    pub fn next_wake(&self) -> Duration {
        if let Some(over) = &self.over {
            return over.again_at;
        }
        let (end, _) = self.dead_man.end(self.stage_end());
        let deadline = self
            .fence
            .stage()
            .filter(|_| !self.stage.phase().has_ended())
            .map(|claim| claim.deadline);
        let held = self.stage.held_until();
        [Some(end), deadline, held, self.steps.next_doom()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(end)
    }

    fn prepare(&mut self, asked: StageClaim) -> Result<Vec<Effect>, Refusal> {
        if self.fence.stage().is_none() {
            // Begun by `FenceSynced`: nothing of a stage is done before its id is durable.
            self.fence.claim(asked);
            return Ok(Vec::new());
        }
        let claim = self.fence.claim_of(&asked.id)?;
        if self.stage.phase().has_ended() {
            return Err(Refusal::StageEnded { stage: asked.id });
        }
        if let Some(field) = claim.content.difference(&asked.content) {
            let (what, field) = (format!("stage {}", asked.id), field.to_owned());
            return Err(Refusal::Conflict { what, field });
        }
        let again = self.stage.prepare_again();
        Ok(again
            .then_some(Effect::Prepare { stage: asked.id })
            .into_iter()
            .collect())
    }

    fn start(
        &mut self,
        stage: &StageId,
        step: StepId,
        content: Content,
        now: Moment,
    ) -> Result<Vec<Effect>, Refusal> {
        let deadline = self.fence.claim_of(stage)?.deadline;
        if let Some(entry) = self.steps.get(&step) {
            // Also in an ended stage: a runner that comes back learns the result.
            return match entry.content().difference(&content) {
                None => Ok(Vec::new()),
                Some(field) => {
                    let (what, field) = (format!("step {step}"), field.to_owned());
                    Err(Refusal::Conflict { what, field })
                }
            };
        }
        let stage = || stage.clone();
        if self.stage.phase().has_ended() || deadline <= now.up {
            Err(Refusal::StageEnded { stage: stage() })
        } else if !self.stage.is_prepared() {
            Err(Refusal::NotPrepared { stage: stage() })
        } else if self.steps.len() >= self.settings.max_steps {
            let limit = self.settings.max_steps;
            Err(Refusal::TooManySteps { step, limit })
        } else {
            Ok(self.steps.start(step, content, now).into())
        }
    }

    /// Keeps the machine for so long after the stage's end. What was removed
    /// already does not come back.
    fn hold(&mut self, lasts: Duration) -> Vec<Effect> {
        let phase = self.stage.phase();
        let cleans = phase.has_ended() && *phase != StagePhase::Stopping;
        if cleans || self.stage.held() == lasts {
            return Vec::new();
        }
        self.stage.hold(lasts);
        let mut effects = self.record_stage();
        effects.extend(self.begin_clean_up());
        effects
    }

    /// Begins the preparation once the stage's id is durable.
    fn begin_prepare(&mut self) -> Option<Effect> {
        let id = self.stage_to_work_for()?.clone();
        self.stage
            .durable()
            .then_some(Effect::Prepare { stage: id })
    }

    fn prepared(&mut self, result: Result<(), String>) -> Vec<Effect> {
        if self.stage.prepared(result) {
            self.record_stage()
        } else {
            Vec::new()
        }
    }

    /// Ends the stage and all its steps, if it has not ended.
    fn stop(&mut self, why: KillWhy, now: Moment) -> Vec<Effect> {
        if !self.stage.stop(now.up) {
            return Vec::new();
        }
        let mut effects = self.record_stage();
        let doom = self.doom(why, now);
        effects.extend(self.steps.kill_all(doom));
        effects.extend(self.begin_clean_up());
        effects
    }

    /// Begins the clean-up once the stage has ended and nothing of it runs.
    pub(super) fn begin_clean_up(&mut self) -> Option<Effect> {
        let id = self.stage_to_work_for()?.clone();
        self.stage
            .clean_up(self.steps.all_ended())
            .then_some(Effect::CleanUp { stage: id })
    }

    /// The stage, once its id is durable, while the machine goes on.
    fn stage_to_work_for(&self) -> Option<&StageId> {
        let claim = self
            .fence
            .stage()
            .filter(|_| self.fence.stage_is_durable())?;
        self.over.is_none().then_some(&claim.id)
    }

    fn cleaned_up(&mut self, result: Result<(), String>) -> Vec<Effect> {
        if self.stage.cleaned_up(result) {
            self.record_stage()
        } else {
            Vec::new()
        }
    }

    pub(super) fn record_stage(&self) -> Vec<Effect> {
        let record = self.fence.stage().map(|claim| self.stage.record(&claim.id));
        record.map(Effect::RecordStage).into_iter().collect()
    }

    fn tick(&mut self, now: Moment) -> Vec<Effect> {
        if let Some(Over { why, again_at }) = &self.over {
            let again = (*again_at <= now.up).then(|| why.clone());
            return again
                .map(|why| self.end_machine(why, now))
                .unwrap_or_default();
        }
        let (end, why) = self.dead_man.end(self.stage_end());
        if end <= now.up {
            return self.end_machine(why, now);
        }
        if self.stage.held_until().is_some_and(|until| until <= now.up) {
            self.stage.let_go();
        }
        let mut effects = self.steps.give_up(now);
        effects.extend(self.stop_by_deadline(now));
        effects
    }

    /// Ends the stage if its deadline has come.
    pub(super) fn stop_by_deadline(&mut self, now: Moment) -> Vec<Effect> {
        match self.fence.stage() {
            Some(claim) if claim.deadline <= now.up => self.stop(KillWhy::TimedOut, now),
            _ => Vec::new(),
        }
    }

    pub(super) fn end_machine(&mut self, why: EndReason, now: Moment) -> Vec<Effect> {
        let again_at = now.up.saturating_add(END_AGAIN);
        self.over = Some(Over {
            why: why.clone(),
            again_at,
        });
        vec![Effect::EndMachine(why)]
    }

    /// When the stage ended, or ends at the latest, and was held.
    fn stage_end(&self) -> Option<Duration> {
        let deadline = self.fence.stage()?.deadline;
        let ended = self.stage.ended_at();
        let end = ended.map_or(deadline, |ended| ended.min(deadline));
        // Kept for a person, nobody is late before that.
        Some(end.saturating_add(self.stage.held()))
    }

    pub(super) fn doom(&self, why: KillWhy, now: Moment) -> Doom {
        Doom {
            why,
            by: now.up.saturating_add(self.settings.kill_within),
        }
    }
}
