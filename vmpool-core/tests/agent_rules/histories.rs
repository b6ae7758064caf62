//! The histories that matter, one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use vmpool_core::agent::{
    Call, Content, Digest, Effect, EndReason, Event, FenceRecord, Found, FoundStep, KillWhy,
    MAX_REASON_LEN, Moment, RefusalKind, Remains, Rules, StagePhase, StageRecord, StepRecord,
    reason,
};
use vmpool_core::{StepStatus, Term, Timestamp};

use crate::driver::{
    BOOT, GRACE, IDLE, KILL_WITHIN, LASTS, MAX_STEPS, Machine, acknowledge, cancel, cleanup,
    content, hold, open, outcome, prepare, settings, start,
};

fn ended(step: &str, status: StepStatus) -> Event {
    Event::StepEnded {
        step: step.into(),
        outcome: outcome(status),
    }
}

fn lost(status: &StepStatus) -> bool {
    matches!(status, StepStatus::Lost { .. })
}

fn ends_machine(effects: &[Effect]) -> Option<&EndReason> {
    effects.iter().find_map(|effect| match effect {
        Effect::EndMachine(why) => Some(why),
        _ => None,
    })
}

fn only(steps: &[&str]) -> BTreeSet<vmpool_core::StepId> {
    steps.iter().map(|step| (*step).into()).collect()
}

#[test]
fn p2_a_term_and_a_stage_survive_a_restart_and_a_reboot() {
    for reboot in [false, true] {
        let mut machine = Machine::prepared();
        machine.expect(open(8));
        if reboot {
            machine.reboot(false);
        } else {
            machine.restart(false, &BTreeSet::new());
        }
        let refusal = machine.call(open(7)).expect_err("a lower term");
        assert_eq!(
            (refusal.reason(), refusal.ruling()),
            (reason::FENCED, Some(Term(8)))
        );
        machine.expect(open(8));
        let refusal = machine.call(prepare(8, "t")).expect_err("another stage");
        assert_eq!(refusal.reason(), reason::OTHER_STAGE);
    }
}

#[test]
fn p2_nothing_is_done_under_a_term_or_a_stage_that_is_not_durable() {
    let mut machine = Machine::new();
    machine.event(Event::Enrolled);
    machine.disk_full = true;
    machine.expect(open(5));
    assert_eq!(
        machine
            .call(prepare(5, "s"))
            .expect_err("not durable")
            .reason(),
        reason::NOT_OPENED
    );
    machine.disk_full = false;
    machine.expect(open(5));
    machine.disk_full = true;
    machine.expect(prepare(5, "s"));
    assert!(!machine.preparing);
    assert_eq!(
        machine.rules.stage(),
        Some((&"s".into(), &StagePhase::Accepted))
    );
    machine.disk_full = false;
    machine.expect(prepare(5, "s"));
    assert!(
        machine.preparing,
        "the repeat has written what the first could not"
    );
}

#[test]
fn p2_a_fence_that_cannot_be_read_ends_the_machine() {
    let remains = Remains {
        enrolled: true,
        fence: Err("bad checksum".into()),
        stage: None,
        steps: Vec::new(),
    };
    let now = Moment {
        up: Duration::from_secs(9),
        at: Timestamp(9),
    };
    let (mut rules, effects) = Rules::restore(settings(0), remains, now);
    assert!(matches!(
        ends_machine(&effects),
        Some(EndReason::StateLost { .. })
    ));
    assert_eq!(
        rules.call(open(9), now).expect_err("ending").reason(),
        reason::MACHINE_ENDING
    );
}

#[test]
fn p2_steps_without_a_stage_end_the_machine() {
    let record = StepRecord {
        id: "a".into(),
        content: content(1),
        started_at: Timestamp(1),
    };
    let step = FoundStep {
        record,
        found: Found::Gone,
        log_end: 0,
        acknowledged: 0,
    };
    let remains = Remains {
        enrolled: true,
        fence: Ok(None),
        stage: None,
        steps: vec![step],
    };
    let now = Moment {
        up: Duration::from_secs(9),
        at: Timestamp(9),
    };
    let (_, effects) = Rules::restore(settings(0), remains, now);
    assert!(matches!(
        ends_machine(&effects),
        Some(EndReason::StateLost { .. })
    ));
}

#[test]
fn p4_a_restarted_agent_goes_on_with_what_it_finds() {
    let mut machine = Machine::running(&["a", "b"]);
    machine.expect(start(5, "s", "c"));
    machine.event(ended("a", StepStatus::Exited { code: 3 }));
    machine.event(Event::Output {
        step: "b".into(),
        log_end: 70,
    });
    let effects = machine.restart(false, &BTreeSet::new());
    assert_eq!(
        effects.len(),
        1,
        "only the result of the step that is gone: {effects:?}"
    );
    assert_eq!(machine.outcome("a"), StepStatus::Exited { code: 3 });
    assert!(
        lost(&machine.outcome("c")),
        "recorded, its process not found"
    );
    let report = machine.rules.report("1.0");
    assert_eq!(report.term, Some(Term(5)));
    assert_eq!(report.steps[1].log_end, 70);
    for step in ["a", "b", "c"] {
        assert_eq!(
            machine.expect(start(5, "s", step)),
            vec![],
            "never run again"
        );
    }
    machine.event(ended("b", StepStatus::Exited { code: 0 }));
    assert_eq!(machine.outcome("b"), StepStatus::Exited { code: 0 });
}

#[test]
fn p4_a_step_that_certainly_never_ran_may_start_after_a_restart() {
    let mut machine = Machine::prepared();
    machine.expect(start(5, "s", "a"));
    machine.restart(true, &BTreeSet::new());
    assert_eq!(machine.expect(start(5, "s", "a")).len(), 2);
}

#[test]
fn p4_a_rebooted_machine_ends_its_stage_because_step_records_may_be_lost() {
    for keep in [false, true] {
        let mut machine = Machine::running(&["a"]);
        machine.pass(Duration::from_secs(200));
        let effects = machine.reboot(keep);
        assert!(effects.contains(&Effect::CleanUp { stage: "s".into() }));
        if keep {
            assert!(lost(&machine.outcome("a")));
        }
        let refusal = machine.call(start(5, "s", "b")).expect_err("ended");
        assert_eq!(refusal.reason(), reason::STAGE_ENDED);
        // Also when the agent dies at once and its unsynced records are lost.
        machine.disk.stage = None;
        machine.restart(false, &BTreeSet::new());
        let refusal = machine.call(start(5, "s", "b")).expect_err("ended");
        assert_eq!(refusal.reason(), reason::STAGE_ENDED);
        let effects = machine.sleep(GRACE + Duration::from_secs(1));
        assert!(matches!(
            ends_machine(&effects),
            Some(EndReason::StageOver { .. })
        ));
    }
}

#[test]
fn p4_an_interrupted_preparation_is_done_again_on_demand() {
    let mut machine = Machine::new();
    machine.event(Event::Enrolled);
    machine.expect(open(5));
    machine.expect(prepare(5, "s"));
    machine.restart(false, &BTreeSet::new());
    assert!(matches!(
        machine.rules.stage(),
        Some((_, StagePhase::PrepareFailed { .. }))
    ));
    assert_eq!(
        machine.expect(prepare(5, "s")),
        vec![Effect::Prepare { stage: "s".into() }]
    );
    machine.event(Event::Prepared);
    machine.restart(false, &BTreeSet::new());
    assert_eq!(
        machine.expect(prepare(5, "s")),
        vec![],
        "prepared stays prepared"
    );
}

#[test]
fn p4_any_runner_may_read_a_step_whatever_its_term() {
    let mut machine = Machine::running(&["a"]);
    machine.expect(open(9));
    assert!(machine.rules.attach(&"s".into(), &"a".into()).is_ok());
    assert_eq!(
        machine
            .call(acknowledge(5, "s", "a", 0))
            .expect_err("a mutation")
            .reason(),
        reason::FENCED
    );
}

#[test]
fn p5_other_content_under_the_same_id_is_a_conflict_that_names_the_field() {
    let mut machine = Machine::running(&["a"]);
    let mut other = start(5, "s", "a");
    if let Call::Start { content, .. } = &mut other {
        *content = Content::new([("command", Digest([1; 16])), ("env", Digest([8; 16]))]);
    }
    let refusal = machine.call(other).expect_err("another environment");
    assert_eq!(refusal.kind(), RefusalKind::Conflict);
    assert_eq!(refusal.field(), Some("env"));
    assert_eq!(
        refusal.to_string(),
        "step a was given before with another env"
    );
}

#[test]
fn p5_a_field_that_one_of_two_lacks_is_the_difference() {
    let one = Content::new([("command", Digest([1; 16]))]);
    let two = Content::new([("command", Digest([1; 16])), ("user", Digest([2; 16]))]);
    assert_eq!(one.difference(&two), Some("user"));
    assert_eq!(two.difference(&one), Some("user"));
    assert_eq!(one.difference(&one), None);
}

#[test]
fn p10_the_stages_deadline_ends_all_its_steps_and_cleans_up() {
    let mut machine = Machine::running(&["a", "b"]);
    machine.expect(start(5, "s", "c"));
    machine.event(ended("b", StepStatus::Exited { code: 0 }));
    let effects = machine.sleep(LASTS);
    let kill = Effect::Kill {
        step: "a".into(),
        why: KillWhy::TimedOut,
    };
    assert!(effects.contains(&kill));
    let effects = machine.event(Event::StepStarted { step: "c".into() });
    assert_eq!(
        effects,
        vec![Effect::Kill {
            step: "c".into(),
            why: KillWhy::TimedOut
        }]
    );
    assert!(!machine.cleaning, "steps are still being ended");
    machine.event(ended("a", StepStatus::Signalled { signal: 9 }));
    machine.event(ended("c", StepStatus::Exited { code: 143 }));
    assert!(machine.cleaning);
    machine.event(Event::CleanedUp);
    assert_eq!(machine.outcome("a"), StepStatus::TimedOut);
    assert_eq!(machine.outcome("b"), StepStatus::Exited { code: 0 });
    assert_eq!(machine.outcome("c"), StepStatus::TimedOut);
    assert_eq!(
        machine.rules.stage(),
        Some((&"s".into(), &StagePhase::Ended))
    );
}

#[test]
fn p10_a_cancelled_step_that_will_not_end_is_lost() {
    let mut machine = Machine::running(&["a"]);
    machine.expect(cancel(5, "s", "a"));
    machine.sleep(KILL_WITHIN);
    assert!(lost(&machine.outcome("a")));
    assert_eq!(
        machine.event(ended("a", StepStatus::Cancelled)),
        vec![],
        "the first result counts"
    );
    assert!(lost(&machine.outcome("a")));
}

#[test]
fn p10_a_step_that_starts_after_it_was_given_up_is_killed() {
    let mut machine = Machine::prepared();
    machine.expect(start(5, "s", "a"));
    machine.expect(cancel(5, "s", "a"));
    machine.sleep(KILL_WITHIN);
    assert!(lost(&machine.outcome("a")));
    let effects = machine.event(Event::StepStarted { step: "a".into() });
    assert_eq!(
        effects,
        vec![Effect::Kill {
            step: "a".into(),
            why: KillWhy::Cancelled
        }]
    );
}

#[test]
fn p10_the_first_reason_to_end_a_step_counts() {
    for started_first in [true, false] {
        let mut machine = Machine::prepared();
        machine.expect(start(5, "s", "a"));
        let started = Event::StepStarted { step: "a".into() };
        if started_first {
            machine.event(started.clone());
        }
        machine.sleep(LASTS.saturating_sub(Duration::from_secs(1)));
        machine.expect(cancel(5, "s", "a"));
        machine.sleep(Duration::from_secs(1));
        machine.event(started);
        machine.event(ended("a", StepStatus::Signalled { signal: 9 }));
        assert_eq!(machine.outcome("a"), StepStatus::Cancelled);
    }
}

#[test]
fn p10_a_cancelled_step_that_never_started_says_why() {
    let mut machine = Machine::prepared();
    machine.expect(start(5, "s", "a"));
    machine.expect(cancel(5, "s", "a"));
    machine.event(Event::StepNotStarted {
        step: "a".into(),
        reason: "no sh".into(),
    });
    assert_eq!(
        machine.outcome("a"),
        StepStatus::NotStarted {
            reason: "no sh".into()
        }
    );
}

#[test]
fn p10_an_ended_stage_kills_the_steps_that_a_restarted_agent_finds() {
    let mut machine = Machine::running(&["a", "b"]);
    machine.expect(cleanup(5, "s"));
    let effects = machine.restart(false, &only(&["b"]));
    assert!(effects.contains(&Effect::Kill {
        step: "a".into(),
        why: KillWhy::Cancelled
    }));
    assert!(lost(&machine.outcome("b")));
    machine.event(ended("a", StepStatus::Cancelled));
    assert!(machine.cleaning);
}

#[test]
fn p10_a_deadline_that_came_while_the_agent_was_down_ends_the_stage_at_once() {
    let mut machine = Machine::running(&["a"]);
    machine.pass(LASTS);
    let effects = machine.restart(false, &BTreeSet::new());
    assert!(effects.contains(&Effect::Kill {
        step: "a".into(),
        why: KillWhy::TimedOut
    }));
}

#[test]
fn p1_a_machine_that_is_not_enrolled_in_time_ends() {
    let mut machine = Machine::new();
    let effects = machine.sleep(BOOT);
    assert_eq!(
        ends_machine(&effects),
        Some(&EndReason::NotEnrolled { within: BOOT })
    );
    assert_eq!(machine.now.up, BOOT);
}

#[test]
fn p1_an_idle_machine_ends_unless_it_is_renewed() {
    let mut machine = Machine::new();
    machine.event(Event::Enrolled);
    machine.expect(open(5));
    for _ in 0..10 {
        assert_eq!(machine.sleep(IDLE * 9 / 10), vec![]);
        machine.expect(Call::Renew { term: Term(5) });
    }
    let refused = machine.call(Call::Renew { term: Term(4) });
    assert_eq!(
        refused.expect_err("a lower term puts nothing off").reason(),
        reason::FENCED
    );
    let effects = machine.sleep(IDLE);
    assert_eq!(
        ends_machine(&effects),
        Some(&EndReason::Idle { since: IDLE })
    );
}

#[test]
fn p1_a_machine_with_a_stage_ends_at_its_deadline_and_grace_whatever_is_renewed() {
    let mut machine = Machine::running(&["a"]);
    let begun = machine.now.up;
    let mut effects = Vec::new();
    while machine.rules.ending().is_none() {
        machine.expect(Call::Renew { term: Term(5) });
        effects.extend(machine.sleep(Duration::from_mins(1)));
    }
    assert_eq!(
        ends_machine(&effects),
        Some(&EndReason::StageOver { grace: GRACE })
    );
    assert_eq!(machine.now.up, begun + LASTS + GRACE);
}

#[test]
fn p1_a_stage_that_ended_early_counts_its_grace_from_there() {
    let mut machine = Machine::prepared();
    machine.expect(cleanup(5, "s"));
    machine.event(Event::CleanedUp);
    let begun = machine.now.up;
    machine.restart(false, &BTreeSet::new());
    machine.sleep(LASTS + GRACE);
    assert_eq!(machine.now.up, begun + GRACE);
}

#[test]
fn p1_a_held_machine_keeps_what_its_stage_left_and_ends_when_its_time_and_grace_are_over() {
    let cleans = |effects: &[Effect]| {
        let cleans = |effect: &Effect| matches!(effect, Effect::CleanUp { .. });
        effects.iter().any(cleans)
    };
    let mut machine = Machine::running(&["a"]);
    machine.event(ended("a", StepStatus::Exited { code: 0 }));
    let begun = machine.now.up;
    machine.expect(hold(5, "s"));
    assert!(!cleans(&machine.sleep(LASTS)), "its stage is over");
    machine.restart(false, &BTreeSet::new());
    let held = Duration::from_hours(2);
    assert!(!cleans(&machine.sleep(Duration::from_mins(119))));
    assert!(cleans(&machine.sleep(Duration::from_mins(1))));
    machine.event(Event::CleanedUp);
    machine.sleep(GRACE);
    assert_eq!(machine.now.up, begun + LASTS + held + GRACE);
    assert!(machine.rules.ending().is_some());

    // Who is done with it need not wait.
    let mut machine = Machine::prepared();
    machine.expect(hold(5, "s"));
    machine.sleep(LASTS);
    assert!(cleans(&machine.expect(cleanup(5, "s"))));
    machine.event(Event::CleanedUp);
    assert_eq!(machine.expect(hold(5, "s")), [], "nothing is left");
}

#[test]
fn p1_the_end_is_asked_for_until_it_comes() {
    let mut machine = Machine::new();
    machine.sleep(BOOT);
    for _ in 0..3 {
        machine.pass(machine.rules.next_wake().saturating_sub(machine.now.up));
        assert!(ends_machine(&machine.event(Event::Tick)).is_some());
    }
}

#[test]
fn p1_only_an_attached_machine_ends_with_its_parent() {
    let now = Moment {
        up: Duration::ZERO,
        at: Timestamp(0),
    };
    for attached in [false, true] {
        let mut settings = settings(0);
        settings.clocks.attached = attached;
        let effects = Rules::new(settings).event(Event::ParentClosed, now);
        assert_eq!(ends_machine(&effects).is_some(), attached);
    }
}

#[test]
fn a_stage_that_lasts_for_ever_does_not_overflow_the_clock() {
    let mut machine = Machine::new();
    machine.event(Event::Enrolled);
    machine.expect(open(u64::MAX));
    let (term, stage) = (Term(u64::MAX), "s".into());
    machine.expect(Call::Prepare {
        term,
        stage,
        lasts: Duration::MAX,
        content: content(1),
    });
    machine.event(Event::Prepared);
    assert_eq!(machine.rules.next_wake(), Duration::MAX);
}

#[test]
fn p13_steps_are_bounded_and_the_bound_is_named() {
    let names: Vec<_> = (0..MAX_STEPS).map(|n| n.to_string()).collect();
    let mut machine = Machine::running(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let refusal = machine.call(start(5, "s", "more")).expect_err("too many");
    assert_eq!(refusal.kind(), RefusalKind::Exhausted);
    assert!(refusal.to_string().contains("4 steps"), "{refusal}");
    assert_eq!(machine.expect(start(5, "s", "0")), vec![]);
}

#[test]
fn the_reason_of_a_result_is_bounded_and_stays_text() {
    let mut machine = Machine::prepared();
    machine.expect(start(5, "s", "a"));
    let reason = format!("x{}", "é".repeat(MAX_REASON_LEN));
    machine.event(Event::StepNotStarted {
        step: "a".into(),
        reason,
    });
    let StepStatus::NotStarted { reason } = machine.outcome("a") else {
        panic!("not started")
    };
    assert_eq!(reason.len(), MAX_REASON_LEN - 1);
}

#[test]
fn a_result_never_takes_back_what_of_the_log_was_acknowledged() {
    let mut machine = Machine::running(&["a"]);
    machine.event(Event::Output {
        step: "a".into(),
        log_end: 70,
    });
    machine.expect(acknowledge(5, "s", "a", 60));
    assert_eq!(
        machine.expect(acknowledge(5, "s", "a", 50)),
        vec![],
        "never sinks"
    );
    machine.event(ended("a", StepStatus::Exited { code: 0 }));
    let step = machine
        .rules
        .attach(&"s".into(), &"a".into())
        .expect("known");
    assert_eq!((step.acknowledged(), step.log_end()), (60, 70));
    assert_eq!(step.outcome().expect("ended").log_end, 70);
}

#[test]
fn what_is_written_reads_back_the_same() {
    let mut machine = Machine::running(&["a", "b"]);
    machine.event(ended(
        "a",
        StepStatus::Lost {
            reason: "holder killed".into(),
        },
    ));
    machine.expect(cleanup(5, "s"));
    let fence = machine.disk.fence.clone().expect("written");
    let stage = machine.disk.stage.clone().expect("written");
    let text = serde_json::to_string(&fence).expect("plain data");
    assert_eq!(
        serde_json::from_str::<FenceRecord>(&text).expect("ours"),
        fence
    );
    let text = serde_json::to_string(&stage).expect("plain data");
    assert_eq!(
        serde_json::from_str::<StageRecord>(&text).expect("ours"),
        stage
    );
    for record in machine.disk.steps.values() {
        let text = serde_json::to_string(record).expect("plain data");
        assert_eq!(
            serde_json::from_str::<StepRecord>(&text).expect("ours"),
            *record
        );
    }
    for outcome in machine.disk.results.values() {
        let text = serde_json::to_string(outcome).expect("plain data");
        assert_eq!(
            serde_json::from_str::<vmpool_core::StepOutcome>(&text).expect("ours"),
            *outcome
        );
    }
}
