//! Ending machines, launched by whatever process.
//!
//! The supervisor is asked and does it. One that does not even begin is killed
//! with all its machine's processes, and so are the processes of a machine that
//! has lost its supervisor.

use std::collections::HashSet;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lite_engine::supervisor::{Census, Supervisor, await_supervisors, kill_machine};
use vmpool_core::{ErrorKind, MachineId, ProviderError, Terminating};

use crate::error::{Unkillable, failed};
use crate::root::Root;

/// After this long a supervisor that has not begun to end its machine is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a call takes at most; what is not over then is on its way out.
const AT_MOST: Duration = Duration::from_secs(15);

/// How long processes that were killed are waited for at a time.
const KILLING: Duration = Duration::from_secs(2);

/// How long supervisors are waited for until we look again.
const LOOK: Duration = Duration::from_millis(500);

/// Between the making of a folder and the supervisor's start lie microseconds.
const STARTING: Duration = Duration::from_millis(5);

pub(crate) fn terminate(root: &Root, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
    let begun = Instant::now();
    let mut asked = HashSet::new();
    let mut gone = Vec::new();
    let mut left = ids.to_vec();
    // One that can't be ended does not keep the others from it.
    let mut failure = None;
    loop {
        let held = held(root, &left).map_err(|error| failed(attempted(&left), error))?;
        let census = Census::take().map_err(|error| failed(attempted(&left), error))?;
        left.retain(|id| {
            let is_gone = !held.contains(id) && !census.has(id);
            if is_gone {
                root.clear(id);
                gone.push(id.clone());
            }
            !is_gone
        });
        let time = AT_MOST.saturating_sub(begun.elapsed());
        if left.is_empty() || time.is_zero() {
            return match failure.filter(|_| !left.is_empty()) {
                Some(error) => Err(error),
                None => Ok(Terminating { gone }),
            };
        }
        let mut waited_for = Vec::new();
        for id in &left {
            let supervisor = census
                .supervisors()
                .iter()
                .find(|found| found.machine == *id);
            let is_deaf = begun.elapsed() > PATIENCE && !is_ending(root, id);
            match supervisor {
                Some(supervisor) if !is_deaf => {
                    if asked.insert(id.clone()) {
                        failure = ask(supervisor).err().or(failure);
                    }
                    waited_for.push(supervisor);
                }
                None if !census.has(id) => {}
                _ => failure = kill(id).err().or(failure),
            }
        }
        if waited_for.is_empty() {
            // Somebody holds a folder and is about to start the supervisor: nothing tells when.
            sleep(STARTING);
        }
        await_supervisors(waited_for, LOOK.min(time))
            .map_err(|error| failed(attempted(&left), error))?;
    }
}

/// Which of the machines' folders are held.
fn held(root: &Root, ids: &[MachineId]) -> io::Result<HashSet<MachineId>> {
    let mut held = HashSet::new();
    for id in ids {
        if let Some(folder) = root.folder(id)
            && folder.is_held()?
        {
            held.insert(id.clone());
        }
    }
    Ok(held)
}

fn is_ending(root: &Root, id: &MachineId) -> bool {
    root.folder(id)
        .is_some_and(|folder| matches!(folder.ending(), Ok(Some(_))))
}

fn ask(supervisor: &Supervisor) -> Result<(), ProviderError> {
    supervisor
        .ask()
        .map_err(|error| failed(format!("terminate {}", supervisor.machine), error))
}

fn kill(id: &MachineId) -> Result<(), ProviderError> {
    let failed = |error| failed(format!("terminate {id}"), error);
    let pids = kill_machine(id, Instant::now() + KILLING).map_err(failed)?;
    if pids.is_empty() {
        return Ok(());
    }
    let unkillable = Unkillable {
        machine: id.clone(),
        pids,
    };
    Err(ProviderError::new(ErrorKind::Transient, format!("terminate {id}")).because(unkillable))
}

fn attempted(ids: &[MachineId]) -> String {
    let ids: Vec<&str> = ids.iter().map(MachineId::as_str).collect();
    format!("terminate {}", ids.join(", "))
}
