//! Every (state, event) pair.

use std::sync::Arc;

use super::{StageEnd, StageEvent, StageState, StepHash, next};
use crate::clock::Timestamp;
use crate::step::{StepOutcome, StepStatus};

fn states() -> [StageState; 3] {
    [
        StageState::Claimed,
        StageState::Prepared,
        StageState::Ended(StageEnd::Released),
    ]
}

fn events() -> [StageEvent; 5] {
    let outcome = StepOutcome {
        status: StepStatus::Exited { code: 0 },
        started_at: Timestamp(1),
        ended_at: Timestamp(2),
        log_end: 3,
    };
    [
        StageEvent::Prepared,
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
        // prepared, step sent, step ended, end as not prepared, end
        [Some("prepared"), None, None, lost(), lost()],
        [
            Some("prepared"),
            Some("prepared"),
            Some("prepared"),
            None,
            lost(),
        ],
        [None, None, None, None, None],
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
