//! Machines that are processes of this host: the provider that needs no cloud.
//!
//! A machine of [`LocalProvider`] is an agent with its own directory, session
//! and loopback port, under a small supervisor that ends every process of the
//! machine when it is terminated, and, if it is attached, when its agent dies or
//! the process that launched it is gone. An agent that dies on a machine that is
//! not attached is started again; its steps go on meanwhile.
//!
//! **It isolates nothing.** Machines share the user, the file system, the
//! network and the process table with each other and with whoever launched
//! them. A step may read and write whatever the user may, and may hide from its
//! supervisor if it gains another user's rights. What is promised is order, not
//! protection: use it for your own pipelines, for tests, and for trying.
//!
//! ```no_run
//! fn main() -> Result<(), vmpool_local::LocalError> {
//!     // Supervisors, agents and the holders of steps are this same program.
//!     vmpool_local::run_agent_if_asked();
//!     let provider = vmpool_local::LocalProvider::new(vmpool_local::AgentCommand::ThisProgram)?;
//!     // Hand it to a pool.
//!     # let _ = provider;
//!     Ok(())
//! }
//! ```
//!
//! Whether a machine is attached says its order (`Clocks::attached`). Attached
//! machines end with the process that launched them, however it ends, or when
//! their provider is dropped; the others outlive both.

mod error;
mod hash;
mod launch;
mod listing;
mod provider;
mod root;
mod terminate;

use std::sync::atomic::{AtomicBool, Ordering};

pub use error::LocalError;
pub use lite_engine::supervisor::Program;
pub use provider::{AgentCommand, LocalProvider};

/// [`run_agent_if_asked`] was called: this program can be its own agent.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Makes this process what it was started to be, if that is a machine's
/// supervisor, an agent or the holder of a step; then it does not return.
///
/// Each program that uses [`AgentCommand::ThisProgram`] calls this first in
/// `main`, before it starts threads, a runtime or logging.
pub fn run_agent_if_asked() {
    lite_engine::holder::run_holder_if_asked();
    lite_engine::supervisor::run_if_asked(lite_engine::run);
    ASKED.store(true, Ordering::Relaxed);
}

/// Whether [`run_agent_if_asked`] was called.
fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
