//! One simulated agent: drives the real rules as `lite-engine` does, with a
//! disk and processes in memory. It does nothing by itself: whoever holds it
//! tells it the time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::SimStep;
use crate::agent::{
    Call, Effect, Event, FenceRecord, Found, FoundStep, KillWhy, Moment, Refusal, Remains, Rules,
    Settings, StageRecord, StepRecord,
};
use crate::clock::Timestamp;
use crate::id::StepId;
use crate::step::{StepOutcome, StepStatus};

/// One simulated agent. Preparing and cleaning up take no time and never fail.
#[derive(Debug, Clone)]
pub struct SimAgent {
    rules: Rules,
    settings: Settings,
    disk: Disk,
    processes: BTreeMap<StepId, Process>,
    starts: BTreeMap<StepId, u32>,
}

/// What survives the agent.
#[derive(Debug, Clone, Default)]
struct Disk {
    enrolled: bool,
    fence: Option<FenceRecord>,
    stage: Option<StageRecord>,
    steps: BTreeMap<StepId, StepRecord>,
    results: BTreeMap<StepId, StepOutcome>,
}

/// A step's process, under its holder; its log stays when it has ended.
#[derive(Debug, Clone)]
struct Process {
    begun: Moment,
    script: SimStep,
    /// How much of the script's output has come.
    printed: usize,
    running: bool,
    log: Vec<u8>,
    /// Where `log` begins: what was before was forgotten.
    log_start: u64,
}

impl Process {
    fn log_end(&self) -> u64 {
        self.log_start + self.log.len() as u64
    }

    fn ends_at(&self) -> Option<Duration> {
        Some(self.begun.up.saturating_add(self.script.takes?)).filter(|_| self.running)
    }

    fn prints_at(&self) -> Option<Duration> {
        let (time, _) = self.script.output.get(self.printed)?;
        Some(self.begun.up.saturating_add(*time)).filter(|_| self.running)
    }
}

impl SimAgent {
    /// The agent of a machine that has just booted.
    pub fn new(settings: Settings) -> Self {
        Self {
            rules: Rules::new(settings.clone()),
            settings,
            disk: Disk::default(),
            processes: BTreeMap::new(),
            starts: BTreeMap::new(),
        }
    }

    /// How often each step was really started. More than once is a bug (P4).
    pub fn starts(&self) -> &BTreeMap<StepId, u32> {
        &self.starts
    }

    /// The rules, to be looked at.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The machine has ended itself.
    pub fn is_over(&self) -> bool {
        self.rules.ending().is_some()
    }

    /// A runner's call. A step that it starts does what `script` says.
    ///
    /// # Errors
    /// The rules refuse it.
    pub fn call(&mut self, call: Call, script: &SimStep, now: Moment) -> Result<(), Refusal> {
        self.advance(now);
        let effects = self.rules.call(call, now)?;
        self.carry_out(effects, script, now);
        Ok(())
    }

    /// The agent has its certificate.
    pub fn enrol(&mut self, now: Moment) {
        self.advance(now);
        self.disk.enrolled = true;
        self.tell(Event::Enrolled, now);
    }

    /// When something happens here next by itself, since boot.
    pub fn next_event(&self) -> Duration {
        let processes = self.processes.values();
        let times = processes.flat_map(|process| [process.prints_at(), process.ends_at()]);
        times
            .flatten()
            .min()
            .unwrap_or(Duration::MAX)
            .min(self.rules.next_wake())
    }

    /// Lets all happen that happens by `now`, each at its time.
    pub fn advance(&mut self, now: Moment) {
        while !self.is_over() && self.next_event() <= now.up {
            let up = self.next_event();
            let ago = now.up.saturating_sub(up).as_millis();
            let ago = u64::try_from(ago).unwrap_or(u64::MAX);
            let then = Moment {
                up,
                at: Timestamp(now.at.0.saturating_sub(ago)),
            };
            self.run_processes(then);
            self.tell(Event::Tick, then);
        }
    }

    /// What the agent has of a step's log from `offset` on, and where that begins:
    /// later than asked for, if it was acknowledged.
    pub fn log(&self, step: &StepId, offset: u64) -> (u64, &[u8]) {
        let Some(process) = self.processes.get(step) else {
            return (0, &[]);
        };
        let from = offset.clamp(process.log_start, process.log_end());
        let skip = usize::try_from(from - process.log_start).unwrap_or(usize::MAX);
        (from, process.log.get(skip..).unwrap_or_default())
    }

    /// The agent's process dies and is started again; the steps run on under
    /// their holders (P4).
    pub fn restart(&mut self, now: Moment) {
        self.advance(now);
        let steps = self.disk.steps.values().map(|record| {
            let process = self.processes.get(&record.id);
            FoundStep {
                record: record.clone(),
                found: match self.disk.results.get(&record.id) {
                    Some(outcome) => Found::Ended(outcome.clone()),
                    None if process.is_some_and(|process| process.running) => Found::Running,
                    None => Found::Gone,
                },
                log_end: process.map_or(0, Process::log_end),
                acknowledged: process.map_or(0, |process| process.log_start),
            }
        });
        let remains = Remains {
            enrolled: self.disk.enrolled,
            fence: Ok(self.disk.fence.clone()),
            stage: self.disk.stage.clone(),
            steps: steps.collect(),
        };
        let (rules, effects) = Rules::restore(self.settings.clone(), remains, now);
        self.rules = rules;
        self.carry_out(effects, &SimStep::exits(0), now);
    }

    fn run_processes(&mut self, now: Moment) {
        let mut events = Vec::new();
        for (id, process) in &mut self.processes {
            while process.prints_at().is_some_and(|at| at <= now.up) {
                process
                    .log
                    .extend_from_slice(&process.script.output[process.printed].1);
                process.printed += 1;
                let log_end = process.log_end();
                events.push(Event::Output {
                    step: id.clone(),
                    log_end,
                });
            }
            if process.ends_at().is_some_and(|at| at <= now.up) {
                events.push(ended(id, process, process.script.status.clone(), now));
            }
        }
        for event in events {
            self.tell(event, now);
        }
    }

    fn tell(&mut self, event: Event, now: Moment) {
        let effects = self.rules.event(event, now);
        // Only a call starts a step.
        self.carry_out(effects, &SimStep::exits(0), now);
    }

    fn carry_out(&mut self, effects: Vec<Effect>, script: &SimStep, now: Moment) {
        for effect in effects {
            match effect {
                Effect::SyncFence(record) => {
                    let revision = record.revision;
                    self.disk.fence = Some(record);
                    self.tell(Event::FenceSynced { revision }, now);
                }
                Effect::RecordStage(record) => self.disk.stage = Some(record),
                Effect::RecordStep(record) => {
                    self.disk.steps.insert(record.id.clone(), record);
                }
                Effect::RecordResult { step, outcome } => {
                    self.disk.results.insert(step, outcome);
                }
                Effect::Prepare { .. } => self.tell(Event::Prepared, now),
                Effect::Spawn { step } => {
                    *self.starts.entry(step.clone()).or_default() += 1;
                    let process = Process {
                        begun: now,
                        script: script.clone(),
                        printed: 0,
                        running: true,
                        log: Vec::new(),
                        log_start: 0,
                    };
                    self.processes.insert(step.clone(), process);
                    self.tell(Event::StepStarted { step }, now);
                }
                Effect::Kill { step, why } => {
                    let status = match why {
                        KillWhy::Cancelled => StepStatus::Cancelled,
                        KillWhy::TimedOut => StepStatus::TimedOut,
                    };
                    if let Some(process) = self.processes.get_mut(&step) {
                        let event = ended(&step, process, status, now);
                        self.tell(event, now);
                    }
                }
                Effect::ForgetLog { step, up_to } => {
                    if let Some(process) = self.processes.get_mut(&step) {
                        let forgotten = up_to.saturating_sub(process.log_start);
                        let forgotten = usize::try_from(forgotten).unwrap_or(usize::MAX);
                        process.log.drain(..forgotten.min(process.log.len()));
                        process.log_start = up_to;
                    }
                }
                Effect::CleanUp { .. } => self.tell(Event::CleanedUp, now),
                Effect::EndMachine(_) => {
                    let processes = self.processes.values_mut();
                    processes.for_each(|process| process.running = false);
                }
            }
        }
    }
}

/// Ends the process; gives what its holder tells.
fn ended(id: &StepId, process: &mut Process, status: StepStatus, now: Moment) -> Event {
    process.running = false;
    let outcome = StepOutcome {
        status,
        started_at: process.begun.at,
        ended_at: now.at,
        log_end: process.log_end(),
    };
    Event::StepEnded {
        step: id.clone(),
        outcome,
    }
}
