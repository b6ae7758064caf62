//! Every (phase, event) pair, and what no sequence of events can break.

use proptest::prelude::*;

use super::{OrderEvent, OrderState, Phase, next};

fn at(phase: Phase, open: u32) -> OrderState {
    OrderState {
        phase,
        open,
        bound: 0,
        absent: 3 - open,
    }
}

#[test]
fn every_pair_is_as_the_table_says() {
    use OrderEvent::{Bind, Call, ProveAbsent, Withdraw};
    use Phase::{Launching, Planned, Settled};
    let rows = [
        (at(Planned, 3), Call, Some((Launching, 3))),
        (at(Planned, 3), Bind(1), None),
        (at(Planned, 3), ProveAbsent(1), None),
        (at(Planned, 3), Withdraw, Some((Settled, 0))),
        (at(Launching, 3), Call, Some((Launching, 3))),
        (at(Launching, 3), Bind(1), Some((Launching, 2))),
        (at(Launching, 3), Bind(3), Some((Settled, 0))),
        (at(Launching, 3), Bind(4), None),
        (at(Launching, 3), Bind(0), None),
        (at(Launching, 3), ProveAbsent(2), Some((Launching, 1))),
        (at(Launching, 3), ProveAbsent(3), Some((Settled, 0))),
        (at(Launching, 3), ProveAbsent(4), None),
        (at(Launching, 3), ProveAbsent(0), None),
        (at(Launching, 3), Withdraw, None),
        (at(Settled, 0), Call, None),
        (at(Settled, 0), Bind(1), None),
        (at(Settled, 0), ProveAbsent(1), None),
        (at(Settled, 0), Withdraw, None),
    ];
    for (state, event, expected) in rows {
        let got = next(state, event).ok().map(|s| (s.phase, s.open));
        assert_eq!(got, expected, "{state:?} + {event:?}");
    }
}

fn events() -> impl Strategy<Value = OrderEvent> {
    prop_oneof![
        Just(OrderEvent::Call),
        (0u32..5).prop_map(OrderEvent::Bind),
        (0u32..5).prop_map(OrderEvent::ProveAbsent),
        Just(OrderEvent::Withdraw),
    ]
}

proptest! {
    #[test]
    fn p1_no_slot_appears_or_disappears(
        count in 1u32..20,
        events in prop::collection::vec(events(), 0..40),
    ) {
        let mut state = OrderState::planned(count);
        for event in events {
            if let Ok(after) = next(state, event) {
                prop_assert!(after.bound >= state.bound && after.absent >= state.absent);
                state = after;
            }
            prop_assert_eq!(state.open + state.bound + state.absent, count);
            prop_assert_eq!(state.is_settled(), state.open == 0);
        }
    }
}
