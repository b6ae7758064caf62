//! Sweep: ends what the provider has under our name that nobody should have any
//! more (P1). One of three independent reapers: it asks the provider alone, and
//! works with an empty journal or none.
//!
//! What a [plan](plan()) may end:
//!
//! - expired machines of our own deployment: their order said how long they may
//!   live, and every runner has drained them long before;
//! - machines of another deployment id under our name, expired or not, only if
//!   a person names that id. Whose state directory is lost has another id since.
//!
//! Machines of another owner are never looked at, and what is ending already is
//! left to end.
//!
//! ```
//! # #[cfg(feature = "testkit")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vmpool_core::sweep::{Question, sweep};
//! use vmpool_core::testkit::FakeProvider;
//! use vmpool_core::{Clock, DeploymentId, Owner};
//!
//! let clock = Clock::system();
//! let provider = FakeProvider::new(clock);
//! let owner = Owner::new("ci");
//! let ours = DeploymentId::fresh();
//! let question = Question { owner: &owner, ours: Some(&ours), named: None, now: clock.now() };
//! let report = sweep(&[provider], &question, true).await;
//! for swept in report.swept {
//!     println!("{}: {}", swept.machine.id, swept.machine.why);
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testkit"))]
//! # fn main() {}
//! ```

mod ask;
mod carry_out;
mod plan;
#[cfg(test)]
mod tests;

pub use ask::{Report, sweep};
pub use carry_out::{Swept, carry_out};
pub use plan::{Doomed, Other, Question, SweepPlan, Why, plan};
