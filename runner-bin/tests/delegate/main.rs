//! The incumbent's HTTP API, case by case, as `docs/delegate.md` numbers them:
//! the real program, asked as a Harness delegate asks.

#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/cloud.rs"]
mod cloud;
mod command;
mod ec2;
mod fallback;
mod hostile;
mod logs;
mod requests;
mod setup;
mod steps;
#[expect(dead_code, reason = "these tests need only some of it")]
#[path = "../site/support.rs"]
mod support;
