//! Machines that are processes of this host: an agent under a small supervisor.
//!
//! ```text
//! provider ──spawn──► supervisor ──spawn──► agent ──► holders, steps: these outlive it
//!                     own session,          killed by the kernel
//!                     sub-reaper            when its supervisor ends
//!          ──socket─► request, listener,
//!                     folder's lock,
//!                     lifeline
//!                              ──socket───► request, listener
//! ```
//!
//! Supervisor and agent are one binary (the provider's own, or `lite-engine`)
//! with a hidden first argument. The supervisor is synchronous and has a single
//! thread. It isolates nothing: a machine may do what its user may do.
//!
//! Invariants:
//! - An agent that dies takes an attached machine with it. Any other machine's
//!   agent is started again at the same address ([`OnAgentDeath`]); its holders,
//!   and with them its steps, go on meanwhile (P4).
//! - The machine's [`Folder`] is locked exactly as long as its supervisor lives.
//! - A supervisor that ends by itself leaves no process of the machine, whatever
//!   group, session or parent it went to (P10), and has written down why.
//! - One that is killed leaves processes that carry the machine's [mark](MARK):
//!   a [`Census`] finds them.
//! - The request, with the enrolment secret, travels over sockets only (P11).

mod agent;
mod census;
mod console;
mod ending;
mod folder;
mod handover;
mod program;
mod purge;
mod request;
mod watch;

use std::ffi::OsString;
use std::io;
use std::process::{ExitCode, exit};

use vmpool_core::MachineId;

pub use census::{Census, Supervisor, await_supervisors, kill_machine};
pub use ending::{AgentExit, Ending, OnAgentDeath};
pub use folder::{Folder, Record};
pub use handover::{Links, THIS_PROGRAM, command, hand_over};
pub use program::Program;
pub use request::{Request, RequestError};

use crate::config::AgentConfig;

/// The environment variable that marks the processes of a machine; its value
/// is the machine's id. Agents hand it on to their steps.
pub const MARK: &str = "VMPOOL_MACHINE";

/// The supervisor's environment variable with the machine's tags, as JSON.
const TAGS: &str = "VMPOOL_MACHINE_TAGS";

/// The hidden first argument of a supervisor; the second is the machine's id.
const SUPERVISOR: &str = "supervise-machine";

/// The hidden first argument of an agent; the second is the machine's id.
const AGENT: &str = "run-machine";

/// Makes this process a supervisor, or an agent that does `agent`, if it was
/// started to be one; then it does not return.
///
/// Called first in `main`, before threads are started.
pub fn run_if_asked(agent: fn(AgentConfig) -> ExitCode) {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(role), Some(machine)) = (arguments.next(), arguments.next()) else {
        return;
    };
    let ended = if role == SUPERVISOR {
        machine_id(machine).and_then(watch::supervise)
    } else if role == AGENT {
        machine_id(machine).and_then(|machine| agent::run(machine, agent))
    } else {
        return;
    };
    match ended {
        Ok(ExitCode::SUCCESS) => exit(0),
        Ok(_) => exit(1),
        Err(error) => {
            // Standard error is the machine's console.
            eprintln!("{}: {error}", role.display());
            exit(1);
        }
    }
}

fn machine_id(argument: OsString) -> io::Result<MachineId> {
    let text = argument
        .into_string()
        .map_err(|_| io::Error::other("the id is not UTF-8"))?;
    MachineId::parse(&text).map_err(io::Error::other)
}
