//! What people and programs ask a runner: `vmpool pool`, `explain` and `sweep`,
//! the real program against a real `vmpool serve`, and the service itself.

mod asked;
mod gone;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../serve/support.rs"]
mod support;
mod tools;
mod top;
mod watched;
