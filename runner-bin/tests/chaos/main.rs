//! Real kills (DESIGN §5): builds run on real runners and machines of this host,
//! while runners, agents and databases are killed at any moment. Whatever
//! happens, nothing is left over, no build is lost, and no log is wrong.
//!
//! `cargo xtask chaos` plays many rounds, and one again by its seed.

mod caller;
mod campaign;
mod check;
mod chronicle;
mod database;
mod round;
mod runner;
mod schedule;
mod script;
mod site;
#[path = "../site/support.rs"]
#[expect(
    dead_code,
    reason = "what drives one runner is not all needed for several"
)]
mod support;

use schedule::JournalKind;

#[test]
fn p1_to_p10_a_crowd_of_builds_ends_well_while_its_runner_is_killed_again_and_again() {
    campaign::crowd(100, 100);
}

#[test]
fn p1_to_p10_hold_on_sqlite_whoever_is_killed() {
    campaign::run(JournalKind::Sqlite, 8);
}

#[test]
fn p1_to_p10_hold_on_postgres_whoever_is_killed() {
    campaign::run(JournalKind::Postgres, 6);
}
