//! Many builds, and whatever can go wrong, as many seeds make it.
//!
//! `VMPOOL_SIM_SEEDS` and `VMPOOL_SIM_FROM` choose others than the ones that
//! are always played, and `VMPOOL_SIM_THREADS` on how many threads:
//! `cargo xtask sim` sets them.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use vmpool_core::testkit::sim::{Plan, Report, play};

use crate::show::{failure, replay};

/// Seeds that are played each time.
const SEEDS: u64 = 2_000;
/// Progress is told after so many seeds.
const TOLD_EVERY: u64 = 1_000;
/// Seeds that fail are shown up to this number.
const SHOWN: usize = 5;

fn number(variable: &str, otherwise: u64) -> u64 {
    match env::var(variable) {
        Ok(text) => text.parse().expect("it is a number"),
        Err(_) => otherwise,
    }
}

#[derive(Default)]
struct Sum {
    played: u64,
    failed: Vec<(u64, Report)>,
    done: usize,
    other: usize,
    busiest: [usize; 3],
}

#[test]
fn p1_to_p9_hold_whatever_goes_wrong() {
    let (first, seeds) = (
        number("VMPOOL_SIM_FROM", 1),
        number("VMPOOL_SIM_SEEDS", SEEDS),
    );
    let next = AtomicU64::new(first);
    let sum = Mutex::new(Sum::default());
    let threads = number(
        "VMPOOL_SIM_THREADS",
        thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
    );
    // A mutation is caught by one seed as well as by many.
    let stops = env::var_os("VMPOOL_SIM_STOPS").is_some();
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let caught = stops
                        && !sum
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .failed
                            .is_empty();
                    if caught || seed >= first.saturating_add(seeds) {
                        return;
                    }
                    let report = play(&Plan::from_seed(seed), seeds == 1);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.done += report.done;
                    sum.other += report.other;
                    for (most, calls) in sum.busiest.iter_mut().zip(report.busiest) {
                        *most = calls.max(*most);
                    }
                    if seeds == 1 && report.is_good() {
                        println!("{}", report.told.tail.join("\n"));
                    }
                    if !report.is_good() {
                        println!("seed {seed} fails: {}", report.told.wrong.join("; "));
                        sum.failed.push((seed, report));
                    }
                    sum.played += 1;
                    if sum.played.is_multiple_of(TOLD_EVERY) {
                        let (played, took) = (sum.played, begun.elapsed());
                        println!("{played} of {seeds} seeds in {took:.0?}");
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failed.sort_by_key(|(seed, _)| *seed);
    println!(
        "{seeds} seeds from {first}: {} builds done, {} ended otherwise; \
         most launches, listings, terminations a minute: {:?}",
        sum.done, sum.other, sum.busiest
    );
    for (seed, report) in sum.failed.iter().take(SHOWN) {
        let what = format!("seed {seed}, again by `{}`", replay(*seed));
        println!("{}", failure(&what, report));
    }
    let failed: Vec<u64> = sum.failed.iter().map(|(seed, _)| *seed).collect();
    assert!(
        failed.is_empty(),
        "{} seeds failed: {failed:?}",
        failed.len()
    );
}
