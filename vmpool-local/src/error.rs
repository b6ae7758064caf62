//! What can go wrong on this host, and what kind of failure that is to a pool.

use std::io::{self, ErrorKind as IoKind};
use std::path::PathBuf;

use vmpool_core::{ErrorKind, MachineId, ProviderError};

/// Why there is no [`LocalProvider`](crate::LocalProvider).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// [`AgentCommand::ThisProgram`](crate::AgentCommand::ThisProgram), but
    /// `main` does not make agents of its processes.
    #[error(
        "this program can't be its own agent: main does not call vmpool_local::run_agent_if_asked()"
    )]
    NotAsked,
    /// The agent's program can't be run.
    #[error("the agent's program {}", program.display())]
    Program {
        /// As it was named.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory of the machines can't be used.
    #[error("the directory of local machines {}", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could read the directory, or put their own in its place.
    #[error(
        "the directory of local machines {} is not safe: {reason}; remove it, or name another",
        path.display()
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The lifeline of attached machines could not be made.
    #[error("make the pipe that attached machines hang on")]
    Lifeline(#[source] io::Error),
}

/// A failure at `attempted`, classified by what the system said.
pub(crate) fn failed(attempted: impl Into<String>, error: io::Error) -> ProviderError {
    let kind = match error.kind() {
        IoKind::PermissionDenied => ErrorKind::Permission,
        // Too many processes or descriptors, no memory, a full disk: later there may be room.
        IoKind::WouldBlock
        | IoKind::OutOfMemory
        | IoKind::StorageFull
        | IoKind::QuotaExceeded
        | IoKind::AddrInUse => ErrorKind::NoCapacity,
        _ if is_descriptor_limit(&error) => ErrorKind::NoCapacity,
        _ => ErrorKind::Transient,
    };
    ProviderError::new(kind, attempted).because(error)
}

fn is_descriptor_limit(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}

/// Processes that could not be ended.
#[derive(Debug, thiserror::Error)]
#[error("processes {pids:?} of machine {machine} could not be killed")]
pub(crate) struct Unkillable {
    pub(crate) machine: MachineId,
    pub(crate) pids: Vec<i32>,
}
