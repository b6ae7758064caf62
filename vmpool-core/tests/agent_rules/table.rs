//! Every state with every input, as one table (P2, P9, P10, P13).
//!
//! A new variant of `Call` or `Event` does not compile until it is numbered
//! here, and fails until the table has a column of it; likewise phases and rows.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use vmpool_core::agent::{Call, Effect, Event, Rules, StagePhase, StepPhase, reason};
use vmpool_core::{StageId, StepStatus, Term};

use crate::driver::{
    BOOT, IDLE, KILL_WITHIN, LASTS, Machine, acknowledge, cancel, cleanup, content, hold, open,
    outcome, prepare, start,
};

/// Columns: what is put to every state, calls in small letters, events with a
/// capital. The known stage is `s`, the known step `a`, the ruling term 5; `≠`
/// is other content, `-t` another stage, `✗` a failure.
fn inputs() -> Vec<(&'static str, Input)> {
    let step = || "a".into();
    let other_content = |mut call: Call| {
        match &mut call {
            Call::Prepare { content: it, .. } | Call::Start { content: it, .. } => *it = content(2),
            _ => unreachable!("only these have content"),
        }
        call
    };
    vec![
        ("open4", open(4).into()),
        ("open5", open(5).into()),
        ("open6", open(6).into()),
        ("renew4", Call::Renew { term: Term(4) }.into()),
        ("renew5", Call::Renew { term: Term(5) }.into()),
        ("renew6", Call::Renew { term: Term(6) }.into()),
        ("prep", prepare(5, "s").into()),
        ("prep≠", other_content(prepare(5, "s")).into()),
        ("prep-t", prepare(5, "t").into()),
        ("prep4", prepare(4, "s").into()),
        ("a", start(5, "s", "a").into()),
        ("a≠", other_content(start(5, "s", "a")).into()),
        ("b", start(5, "s", "b").into()),
        ("b-t", start(5, "t", "b").into()),
        ("ack3", acknowledge(5, "s", "a", 3).into()),
        ("ack9", acknowledge(5, "s", "a", 9).into()),
        ("cancel", cancel(5, "s", "a").into()),
        ("clean", cleanup(5, "s").into()),
        ("clean-t", cleanup(5, "t").into()),
        ("hold", hold(5, "s").into()),
        ("hold-t", hold(5, "t").into()),
        ("Enrol", Event::Enrolled.into()),
        ("Sync", Event::FenceSynced { revision: 99 }.into()),
        ("Prep", Event::Prepared.into()),
        (
            "Prep✗",
            Event::PrepareFailed {
                reason: "full".into(),
            }
            .into(),
        ),
        ("Start", Event::StepStarted { step: step() }.into()),
        (
            "Start✗",
            Event::StepNotStarted {
                step: step(),
                reason: "no sh".into(),
            }
            .into(),
        ),
        (
            "Out",
            Event::Output {
                step: step(),
                log_end: 5,
            }
            .into(),
        ),
        (
            "End",
            Event::StepEnded {
                step: step(),
                outcome: outcome(StepStatus::Exited { code: 0 }),
            }
            .into(),
        ),
        ("Clean", Event::CleanedUp.into()),
        (
            "Clean✗",
            Event::CleanUpFailed {
                reason: "busy".into(),
            }
            .into(),
        ),
        ("Parent", Event::ParentClosed.into()),
        ("Tick", Event::Tick.into()),
    ]
}

/// Rows: one machine in each state that the rules tell apart.
fn states() -> Vec<(&'static str, Machine)> {
    let fresh = Machine::new();
    let mut unwanted = Machine::new();
    unwanted.pass(BOOT);
    let mut enrolled = Machine::new();
    enrolled.event(Event::Enrolled);
    let mut opening = enrolled_machine();
    opening.disk_full = true;
    opening.expect(open(5));
    let mut opened = enrolled_machine();
    opened.expect(open(5));
    let mut accepted = enrolled_machine();
    accepted.expect(open(5));
    accepted.disk_full = true;
    accepted.expect(prepare(5, "s"));
    let mut preparing = enrolled_machine();
    preparing.expect(open(5));
    preparing.expect(prepare(5, "s"));
    let mut failed = enrolled_machine();
    failed.expect(open(5));
    failed.expect(prepare(5, "s"));
    failed.event(Event::PrepareFailed {
        reason: "disk".into(),
    });
    let mut starting = Machine::prepared();
    starting.expect(start(5, "s", "a"));
    let mut doomed = Machine::prepared();
    doomed.expect(start(5, "s", "a"));
    doomed.expect(cancel(5, "s", "a"));
    let mut printed = Machine::running(&["a"]);
    printed.event(Event::Output {
        step: "a".into(),
        log_end: 5,
    });
    let mut killing = Machine::running(&["a"]);
    killing.expect(cancel(5, "s", "a"));
    let mut over_killed = Machine::running(&["a"]);
    over_killed.expect(cancel(5, "s", "a"));
    over_killed.pass(KILL_WITHIN);
    let mut ended_step = Machine::running(&["a"]);
    ended_step.event(ended("a"));
    let mut overdue = Machine::running(&["a"]);
    overdue.pass(LASTS);
    let mut stop_preparing = enrolled_machine();
    stop_preparing.expect(open(5));
    stop_preparing.expect(prepare(5, "s"));
    stop_preparing.expect(cleanup(5, "s"));
    let mut stopping = Machine::running(&["a"]);
    stopping.expect(cleanup(5, "s"));
    let mut cleaning = Machine::running(&["a"]);
    cleaning.event(ended("a"));
    cleaning.expect(cleanup(5, "s"));
    let mut unclean = Machine::prepared();
    unclean.expect(cleanup(5, "s"));
    unclean.event(Event::CleanUpFailed {
        reason: "busy".into(),
    });
    let mut over_stage = Machine::running(&["a"]);
    over_stage.event(ended("a"));
    over_stage.expect(cleanup(5, "s"));
    over_stage.event(Event::CleanedUp);
    let mut held = Machine::running(&["a"]);
    held.expect(hold(5, "s"));
    held.event(ended("a"));
    held.pass(LASTS);
    held.event(Event::Tick);
    let mut idle = enrolled_machine();
    idle.expect(open(5));
    idle.pass(IDLE);
    let mut ending = Machine::running(&["a"]);
    ending.event(Event::ParentClosed);
    vec![
        ("fresh", fresh),
        ("booted too long", unwanted),
        ("enrolled", enrolled),
        ("opening", opening),
        ("opened", opened),
        ("idle too long", idle),
        ("accepted", accepted),
        ("preparing", preparing),
        ("prepare failed", failed),
        ("prepared", Machine::prepared()),
        ("a starting", starting),
        ("a doomed", doomed),
        ("a running", Machine::running(&["a"])),
        ("a printed 5", printed),
        ("a killing", killing),
        ("a overdue kill", over_killed),
        ("a ended", ended_step),
        ("stage overdue", overdue),
        ("stopping, prep", stop_preparing),
        ("stopping, a", stopping),
        ("cleaning up", cleaning),
        ("unclean", unclean),
        ("stage ended", over_stage),
        ("held, over", held),
        ("machine ending", ending),
    ]
}

fn enrolled_machine() -> Machine {
    let mut machine = Machine::new();
    machine.event(Event::Enrolled);
    machine
}

fn ended(step: &str) -> Event {
    Event::StepEnded {
        step: step.into(),
        outcome: outcome(StepStatus::Exited { code: 0 }),
    }
}

#[derive(Clone)]
enum Input {
    Call(Call),
    Event(Event),
}

impl From<Call> for Input {
    fn from(call: Call) -> Self {
        Self::Call(call)
    }
}

impl From<Event> for Input {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// Numbers for all kinds of input, without gaps.
fn number(input: &Input) -> usize {
    match input {
        Input::Call(call) => match call {
            Call::Open { .. } => 0,
            Call::Renew { .. } => 1,
            Call::Prepare { .. } => 2,
            Call::Start { .. } => 3,
            Call::Acknowledge { .. } => 4,
            Call::Cancel { .. } => 5,
            Call::Cleanup { .. } => 6,
            Call::Hold { .. } => 19,
        },
        Input::Event(event) => match event {
            Event::Enrolled => 7,
            Event::FenceSynced { .. } => 8,
            Event::Prepared => 9,
            Event::PrepareFailed { .. } => 10,
            Event::StepStarted { .. } => 11,
            Event::StepNotStarted { .. } => 12,
            Event::Output { .. } => 13,
            Event::StepEnded { .. } => 14,
            Event::CleanedUp => 15,
            Event::CleanUpFailed { .. } => 16,
            Event::ParentClosed => 17,
            Event::Tick => 18,
        },
    }
}

fn stage_number(phase: &StagePhase) -> usize {
    match phase {
        StagePhase::Accepted => 0,
        StagePhase::Preparing => 1,
        StagePhase::PrepareFailed { .. } => 2,
        StagePhase::Prepared => 3,
        StagePhase::Stopping => 4,
        StagePhase::CleaningUp => 5,
        StagePhase::Unclean { .. } => 6,
        StagePhase::Ended => 7,
    }
}

fn step_number(phase: &StepPhase) -> usize {
    match phase {
        StepPhase::Starting { doomed: None } => 0,
        StepPhase::Starting { doomed: Some(_) } => 1,
        StepPhase::Running => 2,
        StepPhase::Killing(_) => 3,
        StepPhase::Ended(_) => 4,
    }
}

/// One letter an effect, in their order.
fn letter(effect: &Effect) -> char {
    match effect {
        Effect::SyncFence(_) => 'F',
        Effect::RecordStage(_) => 'r',
        Effect::Prepare { .. } => 'P',
        Effect::RecordStep(_) => 's',
        Effect::Spawn { .. } => 'S',
        Effect::Kill { .. } => 'K',
        Effect::RecordResult { .. } => 'R',
        Effect::ForgetLog { .. } => 'L',
        Effect::CleanUp { .. } => 'C',
        Effect::EndMachine(_) => 'E',
    }
}

/// Two letters a reason.
fn short(text: &str) -> &'static str {
    match text {
        reason::FENCED => "fe",
        reason::NOT_OPENED => "no",
        reason::NOT_ENROLLED => "ne",
        reason::MACHINE_ENDING => "me",
        reason::OTHER_STAGE => "os",
        reason::STAGE_ENDED => "se",
        reason::NOT_PREPARED => "np",
        reason::UNKNOWN_STAGE => "us",
        reason::UNKNOWN_STEP => "up",
        reason::CONFLICT => "co",
        reason::INVALID => "in",
        other => panic!("no letters for {other}"),
    }
}

/// What the input does: effects as letters, `.` for none, `=` for no change at
/// all, a reason's two letters for a refusal.
fn cell(rules: &Rules, machine: &Machine, input: Input) -> String {
    let mut after = rules.clone();
    let effects = match input {
        Input::Call(call) => match after.call(call, machine.now) {
            Ok(effects) => effects,
            Err(refusal) => {
                assert_eq!(after, *rules, "P13: a refused call changes nothing");
                return short(refusal.reason()).into();
            }
        },
        Input::Event(event) => after.event(event, machine.now),
    };
    match (effects.is_empty(), after == *rules) {
        (true, true) => "=".into(),
        (true, false) => ".".into(),
        (false, _) => effects.iter().map(letter).collect(),
    }
}

#[test]
fn every_state_meets_every_input() {
    let (states, inputs) = (states(), inputs());
    let mut text = format!("{:16}", "");
    for (name, _) in &inputs {
        write!(text, "{name:8}").expect("strings take all");
    }
    for (name, machine) in &states {
        write!(text, "\n{name:16}").expect("strings take all");
        for (_, input) in &inputs {
            let cell = cell(&machine.rules, machine, input.clone());
            write!(text, "{cell:8}").expect("strings take all");
        }
    }
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    let text = lines.join("\n") + "\n";
    let expected = include_str!("table.txt");
    assert!(text == expected, "the table has changed; it is now\n{text}");
}

#[test]
fn the_table_has_every_kind_of_input_and_every_phase() {
    let kinds: BTreeSet<_> = inputs().iter().map(|(_, input)| number(input)).collect();
    assert_eq!(kinds, (0..20).collect());
    let stages: BTreeSet<_> = states()
        .iter()
        .filter_map(|(_, machine)| machine.rules.stage().map(|(_, phase)| stage_number(phase)))
        .collect();
    assert_eq!(stages, (0..8).collect());
    let steps: BTreeSet<_> = states()
        .iter()
        .flat_map(|(_, machine)| {
            machine
                .rules
                .steps()
                .map(|(_, step)| step_number(step.phase()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(steps, (0..5).collect());
}

#[test]
fn p9_every_accepted_call_may_be_repeated_in_every_state() {
    for (state, machine) in states() {
        for (name, input) in inputs() {
            let Input::Call(call) = input else { continue };
            let mut once = machine.rules.clone();
            let Ok(first) = once.call(call.clone(), machine.now) else {
                continue;
            };
            for effect in first {
                if let Effect::SyncFence(record) = effect {
                    once.event(
                        Event::FenceSynced {
                            revision: record.revision,
                        },
                        machine.now,
                    );
                }
            }
            let mut twice = once.clone();
            let again = twice.call(call, machine.now);
            assert_eq!(again, Ok(vec![]), "{name} again, after {state}");
            assert_eq!(twice, once, "{name} again, after {state}");
        }
    }
}

#[test]
fn p9_every_event_may_be_told_twice_in_every_state() {
    for (state, machine) in states() {
        for (name, input) in inputs() {
            let Input::Event(event) = input else { continue };
            let mut once = machine.rules.clone();
            once.event(event.clone(), machine.now);
            let mut twice = once.clone();
            let again = twice.event(event, machine.now);
            assert_eq!(again, vec![], "{name} again, after {state}");
            assert_eq!(twice, once, "{name} again, after {state}");
        }
    }
}

#[test]
fn p2_no_other_stage_is_taken_once_one_was() {
    let stage = StageId::new("s");
    for (state, machine) in states() {
        let mut rules = machine.rules.clone();
        if rules.stage().is_none_or(|(id, _)| *id != stage) {
            continue;
        }
        let refusal = rules.call(prepare(5, "t"), machine.now).expect_err(state);
        let expected = [reason::OTHER_STAGE, reason::MACHINE_ENDING];
        assert!(expected.contains(&refusal.reason()), "{state}: {refusal}");
    }
}

#[test]
fn a_tick_before_the_wake_up_changes_nothing_in_any_state() {
    for (state, machine) in states() {
        let wake = machine.rules.next_wake();
        let mut now = machine.now;
        now.up = wake
            .saturating_sub(Duration::from_nanos(1))
            .min(now.up.max(wake));
        let mut rules = machine.rules.clone();
        assert_eq!(rules.event(Event::Tick, now), vec![], "{state}");
        assert_eq!(rules, machine.rules, "{state}");
        now.up = wake;
        assert_ne!(
            rules.event(Event::Tick, now),
            vec![],
            "{state}: a tick at the wake-up acts"
        );
    }
}
