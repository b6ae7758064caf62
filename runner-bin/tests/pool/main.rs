//! What people and programs ask a runner: `vmpool pool`, `explain` and `sweep`,
//! the real program against a real `vmpool serve`, and the service itself.

mod asked;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/fleet.rs"]
mod fleet;
mod gone;
mod several;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/support.rs"]
mod support;
mod tools;
mod top;
mod unaccounted;
mod watched;
