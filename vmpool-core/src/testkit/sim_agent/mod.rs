//! Machines' agents without machines: the real rules ([`Rules`]) over a disk,
//! processes and a network in memory.
//!
//! [`SimAgent`] is one agent, driven by hand: for simulations. [`SimLink`] keeps
//! one a machine, made at its first opening, and is the pool's [`AgentLink`];
//! [`SimExecutor`] runs steps there, as its script says. Both live on tokio's
//! time; an agent's time passes when somebody looks at it.
//!
//! [`AgentLink`]: crate::AgentLink
//! [`Rules`]: crate::agent::Rules

mod agent;
mod executor;
mod hash;
mod link;
mod machine;
mod step;
#[cfg(test)]
mod tests;

pub use agent::SimAgent;
pub use executor::SimExecutor;
pub use link::SimLink;
pub use step::SimStep;
