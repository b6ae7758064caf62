//! The agent itself: drives the rules of [`vmpool_core::agent`] with real
//! processes, and answers runners.
//!
//! ```text
//! runner ──gRPC──► Service ──checked input──► Engine ──Call, Event──► Rules
//!                     │                         │  ◄────Effect───────┘
//!                     │                         ├──► Store   fence (fsynced), stage, setup
//!                     ◄──log, result── Follow   └──► Host    files, steps under their holders
//! ```
//!
//! What may happen is decided by the rules alone; how it is done, by
//! [`crate::host`]; who may ask, by [`crate::listener`].
//!
//! Invariants:
//! - Effects are carried out under the lock that the rules are under, in their
//!   order: what is answered was done, or was begun and is waited for.
//! - Input that can't be carried out is refused before the rules see it (P13).
//! - What is written on the disk shows no secret, except for the stage's
//!   environment, which a restarted agent needs and nobody else may read (P11).

mod clock;
mod digest;
mod effects;
mod engine;
mod entry;
mod follow;
mod input;
mod refuse;
mod returns;
mod run;
mod service;
mod store;
mod watch;

pub use entry::{Agent, TakeUpError};
pub(crate) use refuse::chain;
pub use run::{AgentEnd, AgentError, run, run_to_end, serve};
pub use service::Service;
