//! The agent of vmpool: runs the steps of one stage on its machine.
//!
//! It listens on one port for runners of its deployment ([`listener`]), joins
//! that deployment ([`enrol`], [`identity`]), keeps the rules of
//! [`vmpool_core::agent`], and runs steps under holders that outlive it
//! ([`host`], [`holder`], [`log`], [`mask`]). Where a machine is a process of a
//! host, a [`supervisor`] stands for the machine itself.
//!
//! A program that is to be an agent calls, first in `main`,
//! [`holder::run_holder_if_asked`], and then [`run`].

mod agent;
mod boot;
mod claim;
pub mod compat;
pub mod config;
pub mod enrol;
pub mod facts;
mod fresh_file;
pub mod holder;
pub mod host;
pub mod identity;
mod limits;
pub mod listener;
pub mod livelog;
pub mod log;
pub mod mask;
mod mounts;
pub mod notices;
pub mod output;
mod process;
mod records;
pub mod report;
pub mod start_up;
pub mod supervisor;
mod untrusted;
mod user;

pub use agent::{Agent, AgentEnd, AgentError, Service, TakeUpError, run, run_to_end, serve};
