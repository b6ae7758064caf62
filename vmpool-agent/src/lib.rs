//! The runner's side of vmpool's agents.
//!
//! - [`Authority`]: the deployment's CA and enrolment key, in files or in memory;
//! - [`Agents`]: enrols machines and keeps one connection to each
//!   ([`AgentLink`](vmpool_core::AgentLink));
//! - [`AgentExecutor`]: runs steps over those connections
//!   ([`StepExecutor`](vmpool_core::StepExecutor));
//! - [`LiteEngineExecutor`]: the same by the incumbent's JSON, for agents that
//!   know nothing else, and [`ThrowAway`], what their machines are born with;
//! - [`MachineExecutor`]: either, as the machine's agent has it;
//! - [`peer_server`], [`peer_client`]: how runners of the deployment know each other.
//!
//! ```
//! use std::sync::Arc;
//! use vmpool_agent::{AgentExecutor, Agents, Authority, LinkConfig};
//! use vmpool_core::agent::Clocks;
//!
//! # fn main() -> Result<(), vmpool_agent::AuthorityError> {
//! let authority = Arc::new(Authority::ephemeral()?);
//! let agents = Agents::new(authority, Clocks::default(), LinkConfig::default());
//! let executor = AgentExecutor::new(agents.clone());
//! # let _ = executor;
//! # Ok(())
//! # }
//! ```
//!
//! How an agent is enrolled and what each end verifies is DESIGN §7.

mod authority;
mod config;
mod connection;
mod dial;
mod enrol;
mod executor;
mod incumbent;
mod link;
mod machines;
mod peer;
mod reason;
mod tls;

pub use authority::{Authority, AuthorityError};
pub use config::LinkConfig;
pub use executor::AgentExecutor;
pub use incumbent::{LiteEngineExecutor, ThrowAway};
pub use link::Agents;
pub use machines::MachineExecutor;
pub use peer::{peer_client, peer_server};
