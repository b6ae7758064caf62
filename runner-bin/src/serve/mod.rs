//! `vmpool serve`: the runner as a process, for callers of the incumbent's
//! HTTP API and for other runners.
//!
//! ```text
//! site    what stays for the whole process: options, pools, trust, sockets
//! shift   what lives between taking the state directory's lock and giving it up
//! desk    answers requests: here, at the pool's owner, or at the next process
//! ```
//! [`access`] says who gets in, [`call`] and [`wire`] what requests mean, [`http`] and [`peer`] how they
//! come, [`doors`] the sockets, [`upgrade`] the way from one process to the
//! next, [`logs`] where the steps' logs go. What a runner does is
//! [`vmpool_core::runner`].
//!
//! Invariants:
//! - no end of this process ends a stage: not a signal, not an error, not an upgrade;
//! - a pool file that can't be used changes nothing ([`reload`], [`watch`]);
//! - of all processes of a state directory one at a time has a runner.

mod access;
pub(crate) mod agents;
mod args;
mod call;
mod desk;
mod doors;
mod elsewhere;
mod grpc;
mod http;
mod journal;
mod log_service;
mod logs;
mod manager;
mod metrics;
pub(crate) mod operate;
mod peer;
pub(crate) mod pools;
mod process;
mod reload;
mod routes;
mod screen;
mod shares;
mod shift;
mod signals;
mod site;
mod state_dir;
mod traces;
mod turns;
mod upgrade;
mod watch;
mod wire;

pub(crate) use args::{EXAMPLES, ServeArgs};
pub(crate) use process::serve;
pub(crate) use state_dir::StateDir;
