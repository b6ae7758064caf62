//! What an agent starts from.

use std::net::TcpListener;
use std::path::PathBuf;

use vmpool_core::MachineId;
use vmpool_core::agent::Bootstrap;

use crate::notices::Endpoint;

/// All that an agent is given. Where it comes from is the machine's business:
/// a file that user data wrote, or the [supervisor](crate::supervisor).
#[derive(Debug)]
pub struct AgentConfig {
    /// The machine it runs on, by its provider's id.
    pub machine: MachineId,
    /// What the machine was born with.
    pub bootstrap: Bootstrap,
    /// The agent's own directory; it exists, and only the agent's user may enter it.
    pub state_dir: PathBuf,
    /// Where it listens: bound, and answering connects since before the agent began.
    pub listener: TcpListener,
    /// The cloud's metadata service, where the machine is known to have one:
    /// its notices of the machine's end are told to runners.
    pub metadata: Option<Endpoint>,
    /// Where the machine's start-up scripts [tell](crate::start_up) what they did.
    pub start_up: Option<PathBuf>,
}
