//! An agent's process, until it is one: it takes what its supervisor hands it.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use nix::sys::signal::SigSet;
use nix::unistd::dup2_stdin;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use vmpool_core::MachineId;

use super::folder::Folder;
use super::handover::receive;
use crate::config::AgentConfig;

pub(super) fn run(machine: MachineId, agent: fn(AgentConfig) -> ExitCode) -> io::Result<ExitCode> {
    // Before anything else: an agent without its supervisor is nobody's.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The supervisor reads its signals, the agent shall feel them.
    SigSet::empty().thread_set_mask()?;
    let Some((message, links)) = receive(io::stdin())? else {
        return Err(io::Error::other("its supervisor is gone"));
    };
    // It may have died before the kernel was told.
    if getppid().map(Pid::as_raw_pid) != i32::try_from(message.sender).ok() {
        return Err(io::Error::other("its supervisor is gone"));
    }
    dup2_stdin(File::open("/dev/null")?)?;
    let folder = Folder::at(message.folder);
    if let Some(program) = message.request.program {
        let record = folder.record()?;
        let record = record.ok_or_else(|| io::Error::other("the machine has no record"))?;
        return Err(program.take_over(&folder.state_dir(), record.address));
    }
    // What `ps` and `top` show; a name too long is cut.
    let _ = nix::sys::prctl::set_name(c"lite-engine");

    let [listener] = <[_; 1]>::try_from(links)
        .map_err(|links| io::Error::other(format!("{} descriptors, not 1", links.len())))?;
    Ok(agent(AgentConfig {
        machine,
        bootstrap: message.request.bootstrap,
        state_dir: folder.state_dir(),
        listener: TcpListener::from(listener),
        // A process of this host, whatever this host is.
        metadata: None,
        start_up: None,
    }))
}
