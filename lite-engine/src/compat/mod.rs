//! The incumbent's protocol: JSON over HTTPS, eight routes.
//!
//! ```text
//! connection ──► serve ──► routes ──► Desk ──► Stage ──► Host (its own)
//!   trust          │        body       │  plan     journal
//!   settings       └► socket for steps └► steps ─► collect ─► result
//! ```
//!
//! What is pure: [`settings`], `plan`, `result`, `tests_command`, and the types
//! in [`vmpool_proto::incumbent`]. What runs steps is [`crate::host`], as for our
//! own protocol; nothing of it is done here a second time.
//!
//! Under the incumbent's own scheme of certificates ([`certificates`], [`trust`])
//! nothing but these routes is served. It is weaker than ours: a step that reads
//! the agent's key can act as the runner.

mod annotations;
mod beside;
mod body;
mod caller;
pub mod certificates;
mod collect;
mod connectivity;
mod desk;
mod docker;
mod files;
mod fingerprint;
mod folder;
mod journal;
mod logs;
mod outbound;
mod plan;
mod refused;
mod reports;
mod result;
mod routes;
mod serve;
pub mod settings;
mod socket;
mod stage;
mod stages;
mod stats;
mod steps;
mod stream;
mod tests_command;
pub mod trust;
mod workload;

pub(crate) use beside::{Beside, Machine};
pub use caller::{AskError, Caller};
pub use desk::{Desk, DeskConfig, DeskError};
pub(crate) use outbound::send;
pub use serve::{ServeError, run};
pub(crate) use stages::{DIR, hosts};
