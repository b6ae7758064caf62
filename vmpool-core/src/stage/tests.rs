//! Every (state, event) pair.

use std::sync::Arc;

use super::{StageEnd, StageEvent, StageState, StepHash, Tried, next, told};
use crate::clock::Timestamp;
use crate::step::{StepOutcome, StepStatus};

fn states() -> [StageState; 4] {
    [
        StageState::Claimed,
        StageState::Waiting,
        StageState::Prepared,
        StageState::Ended(StageEnd::Released),
    ]
}

fn events() -> [StageEvent; 7] {
    let outcome = StepOutcome {
        status: StepStatus::Exited { code: 0 },
        started_at: Timestamp(1),
        ended_at: Timestamp(2),
        log_end: 3,
    };
    [
        StageEvent::Prepared,
        StageEvent::Unfit(tried("i-1", "its disk is full")),
        StageEvent::Claim,
        StageEvent::StepSent {
            step: "build".into(),
            hash: StepHash::default(),
        },
        StageEvent::StepEnded {
            step: "build".into(),
            outcome,
        },
        StageEvent::End(StageEnd::Unprepared),
        StageEvent::End(StageEnd::MachineLost(Arc::from("spot"))),
    ]
}

#[test]
fn every_pair_is_as_the_table_says() {
    let lost = || Some("ended");
    let table = [
        // prepared, unfit, claim, step sent, step ended, end as not prepared, end
        [
            Some("prepared"),
            Some("waiting"),
            None,
            None,
            None,
            lost(),
            lost(),
        ],
        [None, None, Some("claimed"), None, None, lost(), lost()],
        [
            Some("prepared"),
            None,
            None,
            Some("prepared"),
            Some("prepared"),
            None,
            lost(),
        ],
        [None; 7],
    ];
    for (state, row) in states().iter().zip(table) {
        for (event, expected) in events().iter().zip(row) {
            let got = next(state, event);
            assert_eq!(
                got.as_ref().ok().map(StageState::as_str),
                expected,
                "{state:?} + {event:?}"
            );
        }
    }
}

fn tried(machine: &str, why: &str) -> Tried {
    let (machine, why) = (machine.into(), why.into());
    Tried { machine, why }
}

#[test]
fn what_a_stage_was_tried_on_is_told_machine_by_machine() {
    let one = tried("i-1", "its disk is full");
    let other = tried("i-2", "no memory");
    assert_eq!(
        told(std::slice::from_ref(&one)),
        "machine i-1 could not be prepared: its disk is full"
    );
    assert_eq!(
        told(&[one, other]),
        "none of 2 machines could be prepared: i-1: its disk is full; i-2: no memory"
    );
}

#[test]
fn an_end_keeps_its_reason() {
    let [.., end] = events();
    let ended = next(&StageState::Prepared, &end).expect("a stage can always end");
    assert_eq!(
        ended,
        StageState::Ended(StageEnd::MachineLost(Arc::from("spot")))
    );
}

#[test]
fn p4_a_stage_of_an_older_journal_goes_on() {
    let older: StageState = serde_json::from_str(r#""preparing""#).expect("it is known");
    assert_eq!(older, StageState::Claimed);
}
