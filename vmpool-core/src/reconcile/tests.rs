//! The plan for each thing that a listing can say of a row, and the other way round.

use std::sync::Arc;
use std::time::Duration;

use super::{Absences, Action, Input, Known, Past, Plan, plan};
use crate::clock::Timestamp;
use crate::id::{Attempt, DeploymentId, MachineId, OrderId, Owner, Version};
use crate::journal::{MachineRow, OrderRow};
use crate::link::Machine;
use crate::machine::MachineState;
use crate::order::{OrderEvent, OrderState, next};
use crate::provider::{Listed, ListedState, Listing, Tags};

const WINDOW: Duration = Duration::from_secs(30);
const LAUNCHED: Timestamp = Timestamp(1_000_000);
const LATER: Timestamp = Timestamp(1_100_000);
const EXPIRY: Timestamp = Timestamp(9_000_000);

fn row(id: &str, state: MachineState) -> Arc<MachineRow> {
    Arc::new(MachineRow {
        machine: Arc::new(Machine {
            id: MachineId::new(id),
            pool: "linux".into(),
            order: OrderId::new("order-1"),
            attempt: Attempt(1),
            address: None,
            key: None,
        }),
        state,
        since: LAUNCHED,
        cause: "a test says so".into(),
        stage: None,
        spec: None,
        launched_at: LAUNCHED,
        expires_at: EXPIRY,
        called_at: None,
        hold: None,
        version: Version(3),
    })
}

fn listed(id: &str, state: ListedState) -> Listed {
    Listed {
        id: MachineId::new(id),
        tags: Tags {
            owner: Owner::new("vmpool"),
            deployment: DeploymentId::new("ours"),
            pool: "linux".into(),
            order: OrderId::new("order-1"),
            attempt: Attempt(1),
            expires_at: EXPIRY,
        },
        state,
        address: None,
    }
}

fn order(open: u32) -> Arc<OrderRow> {
    let state = next(OrderState::planned(open), OrderEvent::Call).expect("it can be called");
    Arc::new(OrderRow {
        id: OrderId::new("order-1"),
        pool: "linux".into(),
        attempt: Attempt(1),
        spec: "fake".into(),
        state,
        sealed: Arc::from([]),
        created_at: LAUNCHED,
        called_at: Some(LAUNCHED),
        expires_at: EXPIRY,
        version: Version(1),
    })
}

/// What a pass is made of, with the quiet defaults of these tests.
struct World {
    machines: Vec<Arc<MachineRow>>,
    orders: Vec<(Arc<OrderRow>, bool)>,
    past: Vec<(&'static str, Option<Arc<MachineRow>>)>,
    listed: Vec<Listed>,
    begun_at: Timestamp,
    complete: bool,
    now: Timestamp,
    may_end: u32,
    answering: Vec<&'static str>,
}

impl World {
    fn new() -> Self {
        Self {
            machines: Vec::new(),
            orders: Vec::new(),
            past: Vec::new(),
            listed: Vec::new(),
            begun_at: LATER,
            complete: true,
            now: LATER,
            may_end: 10,
            answering: Vec::new(),
        }
    }

    fn pass(&self, absences: &mut Absences) -> Plan {
        let known = Known::new(self.machines.clone(), self.orders.clone());
        let past = self.past.iter().cloned();
        let past: Past = past.map(|(id, row)| (MachineId::new(id), row)).collect();
        let listing = Listing {
            begun_at: self.begun_at,
            complete: self.complete,
            machines: self.listed.clone(),
        };
        let answers = |id: &MachineId| self.answering.contains(&id.as_str());
        let input = Input {
            known: &known,
            past: &past,
            listing: &listing,
            window: WINDOW,
            now: self.now,
            may_end: self.may_end,
            answers: &answers,
        };
        plan(&input, absences)
    }

    fn first(&self) -> Plan {
        self.pass(&mut Absences::default())
    }

    fn second(&self) -> Plan {
        let mut absences = Absences::default();
        self.pass(&mut absences);
        self.pass(&mut absences)
    }
}

fn is_over(plan: &Plan) -> bool {
    matches!(plan.actions[..], [Action::Over { .. }])
}

const LIVING: [MachineState; 9] = [
    MachineState::Booting,
    MachineState::Ready,
    MachineState::Claimed,
    MachineState::Suspending,
    MachineState::Suspended,
    MachineState::Resuming,
    MachineState::Held,
    MachineState::Draining,
    MachineState::Terminating,
];

#[test]
fn what_both_know_is_left_alone() {
    for state in LIVING {
        for shown in [
            ListedState::Alive,
            ListedState::Suspended,
            ListedState::Ending,
        ] {
            let world = World {
                machines: vec![row("m-1", state)],
                listed: vec![listed("m-1", shown)],
                ..World::new()
            };
            assert_eq!(world.second(), Plan::default(), "{state} and {shown:?}");
        }
    }
}

#[test]
fn p1_the_word_terminated_counts_at_once_and_is_never_held_back() {
    for state in LIVING {
        let world = World {
            machines: vec![row("m-1", state)],
            listed: vec![listed("m-1", ListedState::Terminated)],
            complete: false,
            may_end: 0,
            ..World::new()
        };
        let plan = world.first();
        assert!(is_over(&plan), "{state}: {plan:?}");
        assert_eq!(plan.unaccounted.len(), 0);
    }
}

#[test]
fn p1_absence_counts_the_second_time_and_is_unaccounted_for_until_then() {
    for state in LIVING {
        let world = World {
            machines: vec![row("m-1", state)],
            ..World::new()
        };
        let first = world.first();
        assert_eq!(
            (first.actions.len(), first.unaccounted.len()),
            (0, 1),
            "{state}"
        );
        let second = world.second();
        assert!(is_over(&second), "{state}: {second:?}");
        assert_eq!(second.unaccounted.len(), 0);
    }
}

#[test]
fn p1_absence_from_a_listing_that_is_incomplete_or_too_early_says_nothing() {
    let incomplete = World {
        machines: vec![row("m-1", MachineState::Claimed)],
        complete: false,
        ..World::new()
    };
    assert_eq!(incomplete.second(), Plan::default());
    let early = World {
        begun_at: LAUNCHED.after(WINDOW),
        complete: true,
        ..incomplete
    };
    assert_eq!(early.second(), Plan::default());
}

#[test]
fn p1_a_machine_that_was_shown_in_between_is_missing_for_the_first_time_again() {
    let gone = World {
        machines: vec![row("m-1", MachineState::Ready)],
        ..World::new()
    };
    let there = World {
        machines: gone.machines.clone(),
        listed: vec![listed("m-1", ListedState::Alive)],
        ..World::new()
    };
    let mut absences = Absences::default();
    gone.pass(&mut absences);
    there.pass(&mut absences);
    assert_eq!(gone.pass(&mut absences).actions, []);
    assert!(is_over(&gone.pass(&mut absences)));
}

#[test]
fn p1_a_machine_whose_agent_answers_is_not_lost_for_a_listings_silence() {
    let world = World {
        machines: vec![row("m-1", MachineState::Claimed)],
        answering: vec!["m-1"],
        ..World::new()
    };
    let plan = world.second();
    assert_eq!((plan.actions.len(), plan.unaccounted.len()), (0, 1));
}

#[test]
fn p1_an_unknown_machine_is_adopted_and_never_ended_before_it_expires() {
    for (now, adopts) in [(LATER, true), (EXPIRY, false)] {
        let world = World {
            past: vec![("m-1", None)],
            listed: vec![listed("m-1", ListedState::Alive)],
            now,
            ..World::new()
        };
        let plan = world.first();
        match &plan.actions[..] {
            [Action::Adopt { .. }] => assert!(adopts),
            [Action::AdoptToEnd { .. }] => assert!(!adopts),
            other => panic!("{other:?}"),
        }
        assert_eq!(plan.unaccounted.len(), 0);
    }
}

#[test]
fn p7_an_unknown_machine_that_ends_already_is_followed_to_its_end() {
    let ending = World {
        past: vec![("m-1", None)],
        listed: vec![listed("m-1", ListedState::Ending)],
        may_end: 0,
        ..World::new()
    };
    let plan = ending.first();
    let to_end = matches!(plan.actions[..], [Action::AdoptToEnd { .. }]);
    assert!(to_end, "{plan:?}");
    assert_eq!(plan.ends, 0, "it is not we who end it");
}

#[test]
fn an_unknown_machine_that_could_not_be_looked_up_is_left_alone() {
    let unread = World {
        listed: vec![listed("m-1", ListedState::Alive)],
        ..World::new()
    };
    let plan = unread.first();
    assert_eq!((plan.actions.len(), plan.unaccounted.len()), (0, 1));
}

#[test]
fn p1_what_counts_as_over_and_is_shown_alive_is_ended_again_with_both_stories() {
    for state in [MachineState::Gone, MachineState::Lost] {
        let world = World {
            past: vec![("m-1", Some(row("m-1", state)))],
            listed: vec![listed("m-1", ListedState::Alive)],
            ..World::new()
        };
        let plan = world.first();
        let [Action::EndAgain { cause, .. }] = &plan.actions[..] else {
            panic!("{plan:?}")
        };
        assert!(cause.contains(state.as_str()), "{cause}");
        assert!(cause.contains("a test says so"), "{cause}");
        let stale = World {
            begun_at: LAUNCHED.after(WINDOW),
            ..world
        };
        assert_eq!(stale.first(), Plan::default(), "it shows what was before");
    }
}

#[test]
fn a_living_row_that_nobody_saw_written_is_read_back() {
    let world = World {
        past: vec![("m-1", Some(row("m-1", MachineState::Booting)))],
        listed: vec![listed("m-1", ListedState::Alive)],
        ..World::new()
    };
    let plan = world.first();
    assert!(
        matches!(plan.actions[..], [Action::ReadBack { .. }]),
        "{plan:?}"
    );
}

#[test]
fn p1_machines_of_an_order_whose_launch_is_under_way_are_left_to_its_answer() {
    let world = World {
        orders: vec![(order(1), false)],
        listed: vec![listed("m-1", ListedState::Alive)],
        ..World::new()
    };
    let known = Known::new([], world.orders.clone());
    let listing = Listing {
        begun_at: LATER,
        complete: true,
        machines: world.listed.clone(),
    };
    assert_eq!(known.strangers(&listing).count(), 0);
    assert_eq!(world.second(), Plan::default());
}

#[test]
fn p1_listings_bind_what_a_silent_launch_made_and_prove_the_rest_absent() {
    let world = World {
        orders: vec![(order(3), true)],
        past: vec![("m-1", None)],
        listed: vec![listed("m-1", ListedState::Alive)],
        ..World::new()
    };
    let first = world.first();
    assert!(
        matches!(first.actions[..], [Action::Bind { .. }]),
        "{first:?}"
    );
    let second = world.second();
    let [
        Action::Bind { machines, .. },
        Action::ProveAbsent { slots, .. },
    ] = &second.actions[..]
    else {
        panic!("{second:?}")
    };
    assert_eq!((machines.len(), *slots), (1, 2));
}

#[test]
fn p1_a_machine_that_was_over_before_any_answer_named_it_is_bound_and_told_of() {
    let world = World {
        orders: vec![(order(1), true)],
        past: vec![("m-1", None)],
        listed: vec![listed("m-1", ListedState::Terminated)],
        ..World::new()
    };
    let plan = world.first();
    let [Action::Bind { .. }, Action::Over { machine, .. }] = &plan.actions[..] else {
        panic!("{plan:?}")
    };
    assert_eq!(machine.as_str(), "m-1");
}

#[test]
fn p7_an_order_whose_machine_could_not_be_looked_up_is_not_proven_absent() {
    let world = World {
        orders: vec![(order(1), true)],
        listed: vec![listed("m-1", ListedState::Alive)],
        ..World::new()
    };
    let plan = world.second();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.unaccounted.len(), 1);
}

#[test]
fn p7_machines_beyond_an_orders_slots_are_adopted() {
    let world = World {
        orders: vec![(order(1), true)],
        past: vec![("m-1", None), ("m-2", None)],
        listed: vec![
            listed("m-1", ListedState::Alive),
            listed("m-2", ListedState::Alive),
        ],
        ..World::new()
    };
    let plan = world.first();
    let [Action::Adopt { listed, .. }, Action::Bind { machines, .. }] = &plan.actions[..] else {
        panic!("{plan:?}")
    };
    assert_eq!((machines.len(), listed.id.as_str()), (1, "m-2"));
}

#[test]
fn p1_no_more_is_ended_than_one_pass_may() {
    let ids = ["m-1", "m-2", "m-3", "m-4", "m-5"];
    let world = World {
        machines: ids.iter().map(|id| row(id, MachineState::Ready)).collect(),
        may_end: 2,
        ..World::new()
    };
    let plan = world.second();
    assert_eq!((plan.actions.len(), plan.ends), (2, 2));
    assert_eq!((plan.held_back, plan.unaccounted.len()), (3, 3));
    let ending = World {
        machines: ids
            .iter()
            .map(|id| row(id, MachineState::Terminating))
            .collect(),
        may_end: 0,
        ..World::new()
    };
    let plan = ending.second();
    assert_eq!(
        (plan.actions.len(), plan.held_back),
        (5, 0),
        "these were to end"
    );
}

#[test]
fn an_address_is_learned_once() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9079));
    let shown = Listed {
        address: Some(address),
        ..listed("m-1", ListedState::Alive)
    };
    let before = row("m-1", MachineState::Booting);
    let after = Arc::new(before.with_address(address));
    for (row, actions) in [(before, 1), (after, 0)] {
        let world = World {
            machines: vec![row],
            listed: vec![shown.clone()],
            ..World::new()
        };
        assert_eq!(world.first().actions.len(), actions);
    }
}
