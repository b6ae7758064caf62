//! Random histories of a machine: calls of several runners, results of its
//! work, passing time, crashes of the agent at any effect, reboots, full disks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vmpool_core::agent::{Call, Effect, Event};
use vmpool_core::{StageId, StepId, StepOutcome, StepStatus, Term};

use crate::driver::{GRACE, KILL_WITHIN, LASTS, Machine, content, outcome};

#[derive(Debug, Clone)]
enum Op {
    Call(Call),
    /// The agent dies when it has carried out so many effects of the call.
    CallAndDie(Call, usize),
    Event(Event),
    Sleep(Duration),
    /// The agent dies; is it certain of what never ran, and which steps die too?
    Restart(bool, BTreeSet<StepId>),
    Reboot(bool),
    DiskFull(bool),
}

fn step_id() -> impl Strategy<Value = StepId> + Clone {
    select(vec!["a", "b", "c", "d", "e"]).prop_map(StepId::new)
}

fn call() -> impl Strategy<Value = Call> + Clone {
    let term = || prop_oneof![9 => Just(RULING), 1 => (1..5u64).prop_map(Term)];
    let stage = || prop_oneof![9 => Just("s"), 1 => Just("t")].prop_map(StageId::new);
    let content = || prop_oneof![9 => Just(1), 1 => Just(2)].prop_map(content);
    prop_oneof![
        3 => (1..5u64).prop_map(|term| Call::Open { term: Term(term) }),
        3 => term().prop_map(|term| Call::Renew { term }),
        6 => (term(), stage(), content()).prop_map(|(term, stage, content)| {
            Call::Prepare { term, stage, lasts: LASTS, content }
        }),
        18 => (term(), stage(), step_id(), content()).prop_map(|(term, stage, step, content)| {
            Call::Start { term, stage, step, content }
        }),
        6 => (term(), stage(), step_id(), 0..50u64).prop_map(|(term, stage, step, offset)| {
            Call::Acknowledge { term, stage, step, offset }
        }),
        3 => (term(), stage(), step_id())
            .prop_map(|(term, stage, step)| Call::Cancel { term, stage, step }),
        1 => (term(), stage(), 0..3u32).prop_map(|(term, stage, halves)| {
            Call::Hold { term, stage, lasts: LONGEST_HOLD / 2 * halves }
        }),
        1 => (term(), stage()).prop_map(|(term, stage)| Call::Cleanup { term, stage }),
    ]
}

/// The longest that a stage's machine is kept.
const LONGEST_HOLD: Duration = Duration::from_secs(1200);

/// Stands for the term that rules when the call is made.
const RULING: Term = Term(0);

/// The call with the term that rules in place of [`RULING`].
fn ruling(mut call: Call, machine: &Machine) -> Call {
    match &mut call {
        Call::Open { term }
        | Call::Renew { term }
        | Call::Prepare { term, .. }
        | Call::Start { term, .. }
        | Call::Acknowledge { term, .. }
        | Call::Cancel { term, .. }
        | Call::Hold { term, .. }
        | Call::Cleanup { term, .. } => {
            if *term == RULING {
                *term = machine.rules.term().unwrap_or(RULING);
            }
        }
    }
    call
}

fn event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![
        (0..2).prop_map(|code| StepStatus::Exited { code }),
        Just(StepStatus::Signalled { signal: 11 }),
        Just(StepStatus::TimedOut),
        Just(StepStatus::Cancelled),
        Just(StepStatus::Lost {
            reason: "its holder was killed".into()
        }),
    ];
    let reason = || Just("of a fault".to_owned());
    prop_oneof![
        2 => Just(Event::Enrolled),
        4 => Just(Event::Prepared),
        1 => reason().prop_map(|reason| Event::PrepareFailed { reason }),
        6 => step_id().prop_map(|step| Event::StepStarted { step }),
        1 => (step_id(), reason()).prop_map(|(step, reason)| Event::StepNotStarted { step, reason }),
        3 => (step_id(), 0..100u64).prop_map(|(step, log_end)| Event::Output { step, log_end }),
        4 => (step_id(), status).prop_map(|(step, status)| {
            Event::StepEnded { step, outcome: outcome(status) }
        }),
        1 => Just(Event::CleanedUp),
        1 => reason().prop_map(|reason| Event::CleanUpFailed { reason }),
        1 => Just(Event::Tick),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let short = || (1..20u64).prop_map(Duration::from_secs);
    prop_oneof![
        40 => call().prop_map(Op::Call),
        1 => (call(), 0..3usize).prop_map(|(call, at)| Op::CallAndDie(call, at)),
        40 => event().prop_map(Op::Event),
        4 => short().prop_map(Op::Sleep),
        1 => Just(Op::Sleep(LASTS / 4)),
        1 => (any::<bool>(), proptest::collection::btree_set(step_id(), 0..3))
            .prop_map(|(certain, gone)| Op::Restart(certain, gone)),
        1 => weighted(0.3).prop_map(Op::DiskFull),
        1 => weighted(0.2).prop_flat_map(|reboots| {
            let keeps = any::<bool>();
            keeps.prop_map(move |keep| {
                if reboots { Op::Reboot(keep) } else { Op::Restart(keep, BTreeSet::new()) }
            })
        }),
    ]
}

/// What has been seen of a machine, and must not be unsaid.
#[derive(Default)]
struct Seen {
    /// The highest term that an `Open` was answered with.
    opened: Option<Term>,
    /// Stages that were ever worked for.
    stages: BTreeSet<StageId>,
    /// Results as they were recorded, and so could be answered.
    results: BTreeMap<StepId, StepOutcome>,
    /// What of the logs was acknowledged to this agent.
    acknowledged: BTreeMap<StepId, u64>,
    /// When the stage ended, as it was recorded.
    ended: Option<Duration>,
    over: bool,
    /// How many of the machine's effects were looked at.
    looked: usize,
}

impl Seen {
    /// Looks at all that was asked for since the last time.
    fn look(&mut self, machine: &Machine) {
        for effect in &machine.asked[self.looked..] {
            match effect {
                Effect::Prepare { stage } | Effect::CleanUp { stage } => {
                    assert!(!self.over, "no work after the machine's end");
                    self.stages.insert(stage.clone());
                }
                Effect::Spawn { step } => {
                    assert!(!self.over, "no work after the machine's end");
                    let before = (self.ended.as_ref(), self.results.get(step));
                    assert_eq!(
                        before,
                        (None, None),
                        "no step starts after its end or its stage's"
                    );
                }
                Effect::RecordResult { step, outcome } => {
                    let before = self.results.insert(step.clone(), outcome.clone());
                    assert!(before.is_none(), "P5: one result a step: {step}");
                }
                Effect::EndMachine(_) => self.over = true,
                Effect::RecordStage(record) => self.ended = record.ended_at,
                Effect::SyncFence(_)
                | Effect::RecordStep(_)
                | Effect::Kill { .. }
                | Effect::ForgetLog { .. } => {}
            }
        }
        self.looked = machine.asked.len();
        assert!(
            self.stages.len() <= 1,
            "P2: one stage, ever: {:?}",
            self.stages
        );
        assert!(
            machine.rules.term() >= self.opened,
            "P2: the term never sinks"
        );
        assert!(
            machine.executed.values().all(|&times| times == 1),
            "P4: no step runs twice"
        );
        for (id, step) in machine.rules.steps() {
            assert!(
                step.acknowledged() <= step.log_end(),
                "acknowledged is within the log"
            );
            let before = self.acknowledged.insert(id.clone(), step.acknowledged());
            assert!(
                before.unwrap_or(0) <= step.acknowledged(),
                "acknowledged never sinks"
            );
            assert_eq!(step.outcome(), self.results.get(id), "P5: {id}");
        }
    }

    fn apply(&mut self, machine: &mut Machine, op: Op) {
        match op {
            Op::Call(call) => self.call(machine, &ruling(call, machine)),
            Op::CallAndDie(call, at) => {
                if let Ok(effects) = machine.rules.call(ruling(call, machine), machine.now) {
                    machine.carry_out(&effects, at);
                    self.look(machine);
                    self.restart(machine, false, &BTreeSet::new());
                }
            }
            Op::Event(event) => {
                if let Some(event) = Self::possible(machine, event) {
                    machine.event(event);
                }
            }
            Op::Sleep(time) => {
                machine.sleep(time);
            }
            Op::Restart(certain, gone) => self.restart(machine, certain, &gone),
            Op::Reboot(keep) => {
                self.look(machine);
                if !keep {
                    self.results.clear();
                }
                machine.reboot(keep);
                self.restarted();
            }
            Op::DiskFull(full) => machine.disk_full = full,
        }
        self.look(machine);
    }

    fn restart(&mut self, machine: &mut Machine, certain: bool, gone: &BTreeSet<StepId>) {
        self.look(machine);
        machine.restart(certain, gone);
        self.restarted();
    }

    /// An agent that restarts has forgotten what was acknowledged, and whether
    /// it was ending its machine: the clocks will tell it again.
    fn restarted(&mut self) {
        self.acknowledged.clear();
        self.over = false;
    }

    fn call(&mut self, machine: &mut Machine, call: &Call) {
        let before = machine.rules.clone();
        if let Err(refusal) = machine.call(call.clone()) {
            assert_eq!(machine.rules, before, "P13: {refusal}");
            return;
        }
        if let (Call::Open { term }, false) = (call, machine.disk_full) {
            self.opened = self.opened.max(Some(*term));
        }
        let after = machine.rules.clone();
        let again = machine.call(call.clone()).expect("P9: accepted before");
        let writes = |effect: &Effect| matches!(effect, Effect::SyncFence(_));
        assert!(again.iter().all(writes), "P9: {call:?} again: {again:?}");
        assert_eq!(machine.rules, after, "P9: {call:?} again");
    }

    /// The event, of a step with which it can happen. Events tell how work went
    /// that was begun; others would be the driver's fault.
    fn possible(machine: &Machine, mut event: Event) -> Option<Event> {
        let possible = match &mut event {
            Event::Prepared | Event::PrepareFailed { .. } => machine.preparing,
            Event::CleanedUp | Event::CleanUpFailed { .. } => machine.cleaning,
            Event::StepStarted { step } | Event::StepNotStarted { step, .. } => {
                near(step, machine.spawning.iter())
            }
            Event::StepEnded { step, .. } => near(step, machine.running.iter()),
            Event::Enrolled
            | Event::FenceSynced { .. }
            | Event::Output { .. }
            | Event::ParentClosed
            | Event::Tick => true,
        };
        possible.then_some(event)
    }
}

/// Puts the first of `there` that is not below `step`, or the last, in its place.
fn near<'a>(step: &mut StepId, there: impl Iterator<Item = &'a StepId> + Clone) -> bool {
    let found = there
        .clone()
        .find(|id| *id >= step)
        .or_else(|| there.last());
    let found = found.cloned();
    if let Some(id) = &found {
        *step = id.clone();
    }
    found.is_some()
}

proptest! {
    #[test]
    fn p2_p4_p5_p9_p10_p13_hold_in_every_history(
        prepared in weighted(0.7),
        ops in vec(op(), 1..120),
    ) {
        let mut machine = if prepared { Machine::prepared() } else { Machine::new() };
        machine.event(Event::Enrolled);
        let mut seen = Seen::default();
        for op in ops {
            seen.apply(&mut machine, op);
        }
        // Whatever happened, and though nothing pending is ever finished, all
        // steps end, and then the machine does (P10, P1).
        let mut steps_ended = machine.rules.ending().is_some();
        if !steps_ended {
            machine.sleep(LASTS + KILL_WITHIN);
            seen.look(&machine);
            steps_ended = machine.rules.ending().is_some()
                || machine.rules.steps().all(|(_, step)| step.outcome().is_some());
        }
        prop_assert!(steps_ended, "{:?}", machine.rules);
        if machine.rules.ending().is_none() {
            machine.sleep(LASTS + LONGEST_HOLD + GRACE);
        }
        prop_assert!(machine.rules.ending().is_some(), "{:?}", machine.rules);
    }
}
