//! Machines on EC2: a [`Provider`](vmpool_core::Provider) over the real API.
//!
//! ```text
//! Template ──render──► Request (sealed in the journal) ──launch──► RunInstances, or
//!    what a pool's       all that a launch sends                   CreateFleet (instant)
//!    machines are                                                  for several places
//! ```
//!
//! - [`Template`] says what a pool's machines are; [`Ec2Provider`] launches,
//!   lists and ends them. It keeps no books and waits for nothing: the pool
//!   decides, and its account holds the calls back.
//! - Every machine is tagged in the call that creates it, with all that tells
//!   whose it is ([`tags`]).
//! - What EC2 refuses is classified in one place (`failure`), with what was
//!   asked and where.
//!
//! The SDK's own retries are off: the account retries, with one budget for all.

pub mod account;
pub mod bundle;
mod calls;
pub mod checkup;
mod failure;
mod fleet;
pub mod image;
mod launch;
mod listing;
pub mod prices;
mod provider;
mod request;
mod run;
pub mod security_group;
mod sleep;
pub mod tags;
mod template;
mod terminate;
pub mod user_data;

pub use account::{Ec2Account, ec2, ssm};
pub use failure::kind_of;
pub use provider::Ec2Provider;
pub use template::{Disk, Machine, Markets, Network, Preference, Template, Zone};
