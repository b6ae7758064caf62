//! One build, and at each call that its runner makes to journal, provider,
//! agent or log something goes wrong: each of them, exhaustively.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use vmpool_core::testkit::sim::{Happening, Manners, Mishap, Plan, Report, Side, play};

use crate::show::failure;

/// Any seed: it throws the time that things take.
const SEED: u64 = 4;

/// Plays `plan` with `mishap` at each call of the undisturbed build. Every
/// promise must hold, and the build end well.
fn at_each_call(plan: &Plan, mishap: Mishap) {
    let undisturbed = play(plan, false);
    assert!(
        undisturbed.is_good() && undisturbed.done == 1,
        "{}",
        failure("undisturbed", &undisturbed)
    );
    let next = AtomicU64::new(1);
    let failed: Mutex<Vec<(u64, Report)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    if call > undisturbed.calls {
                        return;
                    }
                    let plan = Plan {
                        mishap: Some((call, mishap)),
                        ..plan.clone()
                    };
                    let report = play(&plan, false);
                    if !report.is_good() || report.done != 1 {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push((call, report));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(call, _)| *call);
    for (call, report) in failed.iter().take(3) {
        println!("{}", failure(&format!("{mishap:?} at call {call}"), report));
    }
    let calls: Vec<u64> = failed.iter().map(|(call, _)| *call).collect();
    let of = undisturbed.calls;
    assert!(calls.is_empty(), "{mishap:?} at calls {calls:?} of {of}");
}

fn twice_at_once() -> Plan {
    let mut plan = Plan::single_build(SEED);
    plan.builds[0].manners = Manners {
        twice: true,
        asks_again: true,
        ..Manners::default()
    };
    plan
}

#[test]
fn p1_p4_a_build_goes_on_wherever_its_runner_dies_before_an_effect() {
    at_each_call(&Plan::single_build(SEED), Mishap::Crash(Side::Before));
}

#[test]
fn p1_p4_a_build_goes_on_wherever_its_runner_dies_after_an_effect() {
    at_each_call(&Plan::single_build(SEED), Mishap::Crash(Side::After));
}

#[test]
fn p1_p3_a_build_goes_on_whichever_call_fails_once() {
    // Where its machine can't be prepared, it gets the next one.
    at_each_call(&Plan::single_build(SEED), Mishap::Fail);
}

#[test]
fn p9_a_build_goes_on_whichever_call_is_carried_out_twice() {
    at_each_call(&Plan::single_build(SEED), Mishap::Twice);
}

#[test]
fn p9_a_build_that_is_asked_for_twice_at_once_goes_on_wherever_its_runner_dies() {
    at_each_call(&twice_at_once(), Mishap::Crash(Side::After));
}

/// A build whose first machine can't be prepared.
fn on_its_second_machine() -> Plan {
    let mut plan = Plan::single_build(SEED);
    plan.events.push((Duration::ZERO, Happening::SpoilNext));
    plan
}

#[test]
fn p1_p2_p9_a_build_gets_its_second_machine_wherever_its_runner_dies() {
    for side in [Side::Before, Side::After] {
        at_each_call(&on_its_second_machine(), Mishap::Crash(side));
    }
}

#[test]
fn p9_a_build_gets_its_second_machine_whichever_call_is_carried_out_twice() {
    at_each_call(&on_its_second_machine(), Mishap::Twice);
}

#[test]
fn p9_a_build_that_is_asked_for_twice_gets_one_second_machine_wherever_its_runner_dies() {
    let mut plan = twice_at_once();
    plan.events.push((Duration::ZERO, Happening::SpoilNext));
    at_each_call(&plan, Mishap::Crash(Side::After));
}
