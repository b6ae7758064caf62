//! Every (state, event) pair, and what follows from the function as a whole.

use super::MachineEvent as E;
use super::MachineState as S;
use super::{MachineEvent, MachineState, Refused, next};

/// The whole table: a row a state, a column an event; `None` is refused.
fn expected(state: MachineState, event: MachineEvent) -> Option<MachineState> {
    #[rustfmt::skip]
    let row: [Option<MachineState>; 11] = match state {
        // connected, claim, drain, suspend, slept, resume, terminate, provider says gone, adopt, shown alive, hold
        S::Booting     => [Some(S::Ready), None, Some(S::Draining), None, None, None, None, Some(S::Lost), Some(S::Claimed), None, None],
        S::Ready       => [None, Some(S::Claimed), Some(S::Draining), Some(S::Suspending), None, None, None, Some(S::Lost), None, None, None],
        S::Claimed     => [None, None, Some(S::Draining), None, None, None, None, Some(S::Lost), None, None, Some(S::Held)],
        S::Suspending  => [None, None, Some(S::Draining), None, Some(S::Suspended), None, None, Some(S::Lost), None, None, None],
        S::Suspended   => [None, None, Some(S::Draining), None, None, Some(S::Resuming), None, Some(S::Lost), None, None, None],
        S::Resuming    => [Some(S::Ready), None, Some(S::Draining), None, None, None, None, Some(S::Lost), None, None, None],
        S::Held        => [None, None, Some(S::Draining), None, None, None, None, Some(S::Lost), None, None, None],
        S::Draining    => [None, None, None, None, None, None, Some(S::Terminating), Some(S::Lost), None, None, None],
        S::Terminating => [None, None, None, None, None, None, None, Some(S::Gone), None, None, None],
        S::Gone | S::Lost => [None, None, None, None, None, None, None, None, None, Some(S::Terminating), None],
    };
    let column = MachineEvent::ALL
        .iter()
        .position(|e| *e == event)
        .expect("ALL has every event");
    row[column]
}

#[test]
fn every_pair_is_as_the_table_says() {
    for state in MachineState::ALL {
        for event in MachineEvent::ALL {
            let got = next(state, event).map(|(state, _)| state);
            assert_eq!(
                got,
                expected(state, event).ok_or(Refused { state, event }),
                "{state} + {event:?}"
            );
        }
    }
}

#[test]
fn p2_a_claimed_machine_is_never_ready_again() {
    let mut seen = vec![S::Claimed];
    let mut at = 0;
    while at < seen.len() {
        for event in MachineEvent::ALL {
            if let Ok((after, _)) = next(seen[at], event) {
                assert_ne!(after, S::Ready);
                if !seen.contains(&after) {
                    seen.push(after);
                }
            }
        }
        at += 1;
    }
}

#[test]
fn p1_every_living_state_leads_to_an_end_and_only_the_provider_ends_it() {
    for state in MachineState::ALL.into_iter().filter(|s| s.occupies_slot()) {
        let (after, _) = next(state, E::ProviderSaysGone).expect("the provider's word counts");
        assert!(!after.occupies_slot());
        for event in MachineEvent::ALL
            .into_iter()
            .filter(|e| *e != E::ProviderSaysGone)
        {
            if let Ok((after, _)) = next(state, event) {
                assert!(after.occupies_slot(), "{state} + {event:?} frees the slot");
            }
        }
    }
}

#[test]
fn p1_what_counts_as_over_is_only_ever_ended_again() {
    for event in MachineEvent::ALL {
        for over in [S::Gone, S::Lost] {
            let after = next(over, event).map(|(state, _)| state).ok();
            let again = (event == E::ShownAlive).then_some(S::Terminating);
            assert_eq!(after, again, "{over} + {event:?}");
        }
    }
}
