//! Launching machines: a folder, a port and a supervisor each.
//!
//! ```text
//! id from order, attempt, slot ─► port ─► folder, locked ─► supervisor ─► request
//!                                           │ exists
//!                                           └► the machine that was launched before
//! ```
//! The folder is there, with the machine's tags, before any process is: a
//! launch that breaks off leaves nothing that a listing does not show (P1).

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;

use lite_engine::supervisor::{self, Links, Record, Request};
use tokio::process::{Child, Command};
use vmpool_core::agent::Clocks;
use vmpool_core::{
    ErrorKind, LaunchOrder, LaunchOutcome, Launched, MachineId, OrderDraft, ProviderError,
    SecretBytes,
};

use crate::error::failed;
use crate::hash::hash;
use crate::provider::{AgentOf, Host};
use crate::root::machine_id;

/// How often a folder that exists and then does not is looked for again.
const TRIES: usize = 3;

/// What kept an agent that is another program from being described.
#[derive(Debug, thiserror::Error)]
#[error("describe the agent's program")]
struct Refused(#[source] Box<dyn Error + Send + Sync>);

/// `clocks` are the provider's own, where it has some, and so is what tells
/// which program the agent is.
pub(crate) fn render(
    draft: &OrderDraft<'_>,
    clocks: Option<Clocks>,
    agent: Option<&AgentOf>,
) -> Result<SecretBytes, ProviderError> {
    let mut bootstrap = draft.bootstrap.clone();
    bootstrap.clocks = clocks.unwrap_or(bootstrap.clocks);
    let attempted = || format!("render order {}", draft.tags.order);
    let program = agent.map(|agent| agent(draft.bootstrap)).transpose();
    let program = program.map_err(|error| {
        ProviderError::new(ErrorKind::BadSpec, attempted()).because(Refused(error))
    })?;
    if program.is_some() {
        // It does not enrol, and its CA's key follows from this.
        bootstrap.secret = SecretBytes::new([]);
    }
    let request = Request {
        tags: draft.tags.clone(),
        bootstrap,
        program,
    };
    request
        .to_bytes()
        .map_err(|error| ProviderError::new(ErrorKind::BadSpec, attempted()).because(error))
}

/// Launches the order's machines, one after the other.
pub(crate) fn launch(host: &Host, order: &LaunchOrder) -> LaunchOutcome {
    let mut outcome = LaunchOutcome::default();
    let request = match read(order) {
        Ok(request) => request,
        Err(error) => {
            outcome.refused.push((order.count, error));
            return outcome;
        }
    };
    for slot in 0..order.count {
        match launch_slot(host, &request, slot) {
            Ok(machine) => outcome.machines.push(machine),
            Err(error) => outcome.refused.push((1, error)),
        }
    }
    outcome
}

fn read(order: &LaunchOrder) -> Result<Request, ProviderError> {
    let attempted = || format!("launch order {} attempt {}", order.id, order.attempt);
    let request = Request::from_bytes(&order.request)
        .map_err(|error| ProviderError::new(ErrorKind::BadSpec, attempted()).because(error))?;
    if (&request.tags.order, request.tags.attempt) != (&order.id, order.attempt) {
        return Err(ProviderError::new(
            ErrorKind::BadSpec,
            format!(
                "{} with the request of order {} attempt {}",
                attempted(),
                request.tags.order,
                request.tags.attempt
            ),
        ));
    }
    Ok(request)
}

fn launch_slot(host: &Host, request: &Request, slot: u32) -> Result<Launched, ProviderError> {
    let id = id_of(request, slot);
    let failed = |error| failed(format!("launch machine {id}"), error);
    for _ in 0..TRIES {
        if let Some(record) = launched_before(host, &id).map_err(failed)? {
            return Ok(Launched {
                id,
                address: Some(record.address),
            });
        }
        if let Some(address) = begin(host, &id, request)? {
            return Ok(Launched {
                id,
                address: Some(address),
            });
        }
        // Somebody launches it just now: then it was launched before.
    }
    // Others launch it and fail, time and again.
    Err(ProviderError::new(
        ErrorKind::Transient,
        format!("launch machine {id}"),
    ))
}

/// The same for the same order, whoever launches it and whatever version.
fn id_of(request: &Request, slot: u32) -> MachineId {
    let tags = &request.tags;
    machine_id(hash(&[
        tags.deployment.as_str().as_bytes(),
        tags.order.as_str().as_bytes(),
        &tags.attempt.0.to_be_bytes(),
        &slot.to_be_bytes(),
    ]))
}

fn launched_before(host: &Host, id: &MachineId) -> io::Result<Option<Record>> {
    host.root
        .folder(id)
        .map_or(Ok(None), |folder| folder.record())
}

/// Starts the machine; `None` if somebody else has done so meanwhile.
fn begin(
    host: &Host,
    id: &MachineId,
    request: &Request,
) -> Result<Option<SocketAddr>, ProviderError> {
    let io_failed = |error| failed(format!("launch machine {id}"), error);
    // Bound here, so that the address is known and may be dialled at once.
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io_failed)?;
    let address = listener.local_addr().map_err(io_failed)?;
    let record = Record {
        tags: request.tags.clone(),
        address,
    };
    let Some((folder, lock)) = host.root.create(id, &record).map_err(io_failed)? else {
        return Ok(None);
    };
    let attached = request.bootstrap.clocks.attached;
    if request.program.is_some() {
        // Another program makes its port itself: this one is given free for
        // it, and what is handed over in its place is never dialled.
        listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io_failed)?;
    }
    let links = Links {
        listener: &listener,
        lock: &lock,
        lifeline: attached.then(|| host.lifeline.as_fd()),
    };
    let started = (|| {
        let (command, socket) =
            supervisor::command(&host.program, id, &folder, request).map_err(io_failed)?;
        let child = spawn(command).map_err(|error| host.program_failed(id, error))?;
        // It is reaped in any case, also when what follows fails and it ends.
        host.keep(child);
        supervisor::hand_over(&socket, &folder, request, &links).map_err(io_failed)
    })();
    match started {
        Ok(()) => Ok(Some(address)),
        Err(error) => {
            // Nothing runs: as if the folder had never been.
            if let Err(error) = folder.remove() {
                tracing::warn!(machine = %id, %error, "the folder of a failed launch stays");
            }
            Err(error)
        }
    }
}

/// Starts the supervisor. The command, and with it the supervisor's end of the
/// socket, is closed here.
fn spawn(command: std::process::Command) -> io::Result<Child> {
    Command::from(command).kill_on_drop(false).spawn()
}
