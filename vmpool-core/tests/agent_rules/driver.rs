//! A driver of the rules as their module's docs demand it, on a disk in memory.
//! Work that is begun stays pending until the test says how it went.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vmpool_core::agent::{
    BootId, Call, Clocks, Content, Digest, Effect, Event, FenceRecord, Found, FoundStep, Moment,
    Refusal, Remains, Rules, Settings, StageRecord, StepRecord,
};
use vmpool_core::{StageId, StepId, StepOutcome, StepStatus, Term, Timestamp};

pub(crate) const IDLE: Duration = Duration::from_secs(100);
pub(crate) const BOOT: Duration = Duration::from_secs(50);
pub(crate) const GRACE: Duration = Duration::from_secs(1000);
pub(crate) const KILL_WITHIN: Duration = Duration::from_secs(30);
pub(crate) const LASTS: Duration = Duration::from_secs(500);
pub(crate) const MAX_STEPS: usize = 4;

pub(crate) fn settings(boot: u32) -> Settings {
    let clocks = Clocks {
        boot: BOOT,
        idle: IDLE,
        stage_grace: GRACE,
        attached: true,
    };
    let mut settings = Settings::new(clocks, BootId(format!("boot-{boot}")));
    settings.max_steps = MAX_STEPS;
    settings.kill_within = KILL_WITHIN;
    settings
}

pub(crate) fn content(value: u8) -> Content {
    Content::new([("command", Digest([value; 16])), ("env", Digest([7; 16]))])
}

pub(crate) fn open(term: u64) -> Call {
    Call::Open { term: Term(term) }
}

pub(crate) fn prepare(term: u64, stage: &str) -> Call {
    Call::Prepare {
        term: Term(term),
        stage: stage.into(),
        lasts: LASTS,
        content: content(1),
    }
}

pub(crate) fn start(term: u64, stage: &str, step: &str) -> Call {
    let (stage, step) = (stage.into(), step.into());
    Call::Start {
        term: Term(term),
        stage,
        step,
        content: content(1),
    }
}

pub(crate) fn cancel(term: u64, stage: &str, step: &str) -> Call {
    Call::Cancel {
        term: Term(term),
        stage: stage.into(),
        step: step.into(),
    }
}

/// Two hours.
pub(crate) fn hold(term: u64, stage: &str) -> Call {
    Call::Hold {
        term: Term(term),
        stage: stage.into(),
        lasts: Duration::from_hours(2),
    }
}

pub(crate) fn cleanup(term: u64, stage: &str) -> Call {
    Call::Cleanup {
        term: Term(term),
        stage: stage.into(),
    }
}

pub(crate) fn acknowledge(term: u64, stage: &str, step: &str, offset: u64) -> Call {
    Call::Acknowledge {
        term: Term(term),
        stage: stage.into(),
        step: step.into(),
        offset,
    }
}

pub(crate) fn outcome(status: StepStatus) -> StepOutcome {
    StepOutcome {
        status,
        started_at: Timestamp(1),
        ended_at: Timestamp(2),
        log_end: 0,
    }
}

/// What survives the agent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) enrolled: bool,
    pub(crate) fence: Option<FenceRecord>,
    pub(crate) stage: Option<StageRecord>,
    pub(crate) steps: BTreeMap<StepId, StepRecord>,
    pub(crate) results: BTreeMap<StepId, StepOutcome>,
}

/// A machine: the rules, its disk, its processes.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) rules: Rules,
    pub(crate) disk: Disk,
    pub(crate) now: Moment,
    pub(crate) boots: u32,
    /// Fences are not written while this is set.
    pub(crate) disk_full: bool,
    /// Work that was begun and not finished.
    pub(crate) preparing: bool,
    pub(crate) cleaning: bool,
    pub(crate) spawning: BTreeSet<StepId>,
    pub(crate) killing: BTreeSet<StepId>,
    /// Processes of steps.
    pub(crate) running: BTreeSet<StepId>,
    /// How often a process of the step was made.
    pub(crate) executed: BTreeMap<StepId, u32>,
    /// All effects of this machine, in the order in which they were asked for.
    pub(crate) asked: Vec<Effect>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            rules: Rules::new(settings(0)),
            disk: Disk::default(),
            now: Moment {
                up: Duration::from_secs(1),
                at: Timestamp(1000),
            },
            boots: 0,
            disk_full: false,
            preparing: false,
            cleaning: false,
            spawning: BTreeSet::new(),
            killing: BTreeSet::new(),
            running: BTreeSet::new(),
            executed: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// A machine whose stage `s` is prepared under term 5.
    pub(crate) fn prepared() -> Self {
        let mut machine = Self::new();
        machine.event(Event::Enrolled);
        machine.expect(open(5));
        machine.expect(prepare(5, "s"));
        machine.event(Event::Prepared);
        machine
    }

    /// A machine whose stage `s` runs these steps under term 5.
    pub(crate) fn running(steps: &[&str]) -> Self {
        let mut machine = Self::prepared();
        for step in steps {
            machine.expect(start(5, "s", step));
            machine.event(Event::StepStarted {
                step: (*step).into(),
            });
        }
        machine
    }

    /// Makes a call that is not refused; gives its effects.
    #[track_caller]
    pub(crate) fn expect(&mut self, call: Call) -> Vec<Effect> {
        let shown = format!("{call:?}");
        self.call(call)
            .unwrap_or_else(|refusal| panic!("{shown} was refused: {refusal}"))
    }

    pub(crate) fn call(&mut self, call: Call) -> Result<Vec<Effect>, Refusal> {
        let effects = self.rules.call(call, self.now)?;
        self.carry_out(&effects, usize::MAX);
        Ok(effects)
    }

    pub(crate) fn event(&mut self, event: Event) -> Vec<Effect> {
        self.happened(&event);
        let effects = self.rules.event(event, self.now);
        self.carry_out(&effects, usize::MAX);
        effects
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.up += time;
        self.now.at = self.now.at.after(time);
    }

    /// Time passes up to each wake-up and beyond it; gives all effects.
    pub(crate) fn sleep(&mut self, time: Duration) -> Vec<Effect> {
        let until = self.now.up + time;
        let mut effects = Vec::new();
        while self.rules.next_wake() <= until {
            let wake = self.rules.next_wake().max(self.now.up);
            self.pass(wake.saturating_sub(self.now.up));
            effects.extend(self.event(Event::Tick));
            if self.rules.ending().is_some() {
                return effects;
            }
            assert!(
                self.rules.next_wake() > self.now.up,
                "a tick settles what is due"
            );
        }
        self.pass(until.saturating_sub(self.now.up));
        effects
    }

    /// What the event means for the world outside.
    fn happened(&mut self, event: &Event) {
        match event {
            Event::Enrolled => self.disk.enrolled = true,
            Event::Prepared | Event::PrepareFailed { .. } => self.preparing = false,
            Event::CleanedUp | Event::CleanUpFailed { .. } => self.cleaning = false,
            Event::StepStarted { step } => {
                if self.spawning.remove(step) {
                    self.running.insert(step.clone());
                    *self.executed.entry(step.clone()).or_default() += 1;
                }
            }
            Event::StepNotStarted { step, .. } => {
                self.spawning.remove(step);
            }
            Event::StepEnded { step, .. } => {
                self.running.remove(step);
                self.killing.remove(step);
            }
            Event::FenceSynced { .. }
            | Event::Output { .. }
            | Event::ParentClosed
            | Event::Tick => {}
        }
    }

    /// Carries out the first `at_most` effects.
    pub(crate) fn carry_out(&mut self, effects: &[Effect], at_most: usize) {
        for effect in effects.iter().take(at_most) {
            self.asked.push(effect.clone());
            match effect.clone() {
                Effect::SyncFence(_) if self.disk_full => {}
                Effect::SyncFence(record) => {
                    let revision = record.revision;
                    self.disk.fence = Some(record);
                    self.event(Event::FenceSynced { revision });
                }
                Effect::RecordStage(record) => self.disk.stage = Some(record),
                Effect::RecordResult { step, outcome } => {
                    self.disk.results.insert(step, outcome);
                }
                Effect::Prepare { .. } => {
                    assert!(!self.preparing, "one preparation at a time");
                    self.preparing = true;
                }
                Effect::RecordStep(record) => {
                    let before = self.disk.steps.insert(record.id.clone(), record);
                    assert!(before.is_none(), "recorded once");
                }
                Effect::Spawn { step } => {
                    assert!(self.disk.steps.contains_key(&step), "recorded first");
                    assert!(self.spawning.insert(step), "one start at a time");
                }
                Effect::Kill { step, .. } => {
                    assert!(
                        self.running.contains(&step),
                        "only what was started is killed"
                    );
                    self.killing.insert(step);
                }
                Effect::CleanUp { .. } => {
                    assert!(!self.cleaning, "one clean-up at a time");
                    self.cleaning = true;
                }
                Effect::ForgetLog { .. } | Effect::EndMachine(_) => {}
            }
        }
    }

    /// The agent dies and starts again. Steps that were being started never ran;
    /// the new agent is certain of that, or is not. Running ones in `gone` are gone.
    pub(crate) fn restart(&mut self, certain: bool, gone: &BTreeSet<StepId>) -> Vec<Effect> {
        if certain {
            let (spawning, results) = (&self.spawning, &self.disk.results);
            let never_ran = |id: &StepId| spawning.contains(id) && !results.contains_key(id);
            self.disk.steps.retain(|id, _| !never_ran(id));
        }
        self.running.retain(|step| !gone.contains(step));
        (self.preparing, self.cleaning) = (false, false);
        self.spawning.clear();
        self.killing.clear();
        let found = |step: &StepId| match self.disk.results.get(step) {
            Some(outcome) => Found::Ended(outcome.clone()),
            None if self.running.contains(step) => Found::Running,
            None => Found::Gone,
        };
        let steps = self.disk.steps.iter().map(|(id, record)| FoundStep {
            record: record.clone(),
            found: found(id),
            log_end: self
                .rules
                .steps()
                .find(|(known, _)| *known == id)
                .map_or(0, |(_, s)| s.log_end()),
            acknowledged: 0,
        });
        let remains = Remains {
            enrolled: self.disk.enrolled,
            fence: Ok(self.disk.fence.clone()),
            stage: self.disk.stage.clone(),
            steps: steps.collect(),
        };
        let (rules, effects) = Rules::restore(settings(self.boots), remains, self.now);
        self.rules = rules;
        self.carry_out(&effects, usize::MAX);
        effects
    }

    /// The machine loses its power: what was not fsynced is gone, and time
    /// begins anew.
    pub(crate) fn reboot(&mut self, keep_unsynced: bool) -> Vec<Effect> {
        self.boots += 1;
        self.running.clear();
        self.spawning.clear();
        self.now.up = Duration::from_secs(1);
        if !keep_unsynced {
            self.disk.stage = None;
            self.disk.steps.clear();
            self.disk.results.clear();
        }
        self.restart(false, &BTreeSet::new())
    }

    #[track_caller]
    pub(crate) fn outcome(&self, step: &str) -> StepStatus {
        let entry = self
            .rules
            .attach(&StageId::new("s"), &step.into())
            .expect("the step is known");
        entry.outcome().expect("the step has ended").status.clone()
    }
}
