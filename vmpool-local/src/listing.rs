//! Which machines there are, by their folders and by their processes, and what
//! became of one.

use std::collections::HashSet;
use std::io;

use lite_engine::supervisor::{Census, Folder};
use vmpool_core::{Clock, Listed, ListedState, Listing, MachineId, Owner, ProviderError};

use crate::error::failed;
use crate::root::Root;

/// Most bytes of the console in a diagnosis.
const CONSOLE_SHOWN: usize = 4096;

pub(crate) fn list(root: &Root, owner: &Owner) -> Result<Listing, ProviderError> {
    let begun_at = Clock::system().now();
    look(root, owner)
        .map(|(machines, complete)| Listing {
            begun_at,
            complete,
            machines,
        })
        .map_err(|error| failed(format!("list the machines of {owner}"), error))
}

fn look(root: &Root, owner: &Owner) -> io::Result<(Vec<Listed>, bool)> {
    let mut complete = true;
    let mut machines = Vec::new();
    // Folders first: a process that is left when nobody holds its folder is seen after.
    let mut held = Vec::new();
    for id in root.machines()? {
        let Some(folder) = root.folder(&id) else {
            continue;
        };
        held.push((id, folder.is_held()?, folder));
    }
    let census = Census::take()?;
    let mut ended = HashSet::new();
    let mut known = HashSet::new();
    for (id, held, folder) in held {
        let state = state(held, &folder, census.has(&id));
        if state == ListedState::Terminated {
            // Who is asked to end it does so too, but nobody is asked to end what is over.
            root.clear(&id);
            ended.insert(id.clone());
        }
        match folder.record() {
            Ok(Some(record)) if record.tags.owner == *owner => machines.push(Listed {
                id: id.clone(),
                tags: record.tags,
                state,
                address: Some(record.address),
            }),
            // Another's, or just now forgotten.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(machine = %id, %error, "the record of a machine can't be read");
                complete &= state == ListedState::Terminated;
            }
        }
        known.insert(id);
    }
    // Somebody removed their folders, or they are of another root.
    for supervisor in census.supervisors() {
        let tags = supervisor.tags.clone().filter(|tags| tags.owner == *owner);
        if let Some(tags) = tags
            && known.insert(supervisor.machine.clone())
        {
            let id = supervisor.machine.clone();
            machines.push(Listed {
                id,
                tags,
                state: ListedState::Alive,
                address: None,
            });
        }
    }
    if let Err(error) = root.prune(&ended) {
        tracing::warn!(%error, "folders of machines that ended stay");
    }
    Ok((machines, complete))
}

fn state(held: bool, folder: &Folder, has_processes: bool) -> ListedState {
    match (held, has_processes) {
        (true, _) if matches!(folder.ending(), Ok(Some(_))) => ListedState::Ending,
        // Also one whose supervisor was killed: nobody ends it but who is told.
        (true, _) | (false, true) => ListedState::Alive,
        (false, false) => ListedState::Terminated,
    }
}

/// The machine's state, why it ended, and its console's end.
pub(crate) fn diagnose(root: &Root, id: &MachineId) -> Option<String> {
    let folder = root.folder(id)?;
    folder.record().ok()??;
    let held = folder.is_held().ok()?;
    let state = match (folder.ending().ok().flatten(), held) {
        (Some(ending), false) => format!("ended: {ending}"),
        (Some(ending), true) => format!("is ending: {ending}"),
        (None, true) => "is alive".to_owned(),
        (None, false) => "ended: its supervisor was killed, or the host went down".to_owned(),
    };
    let console = folder.console_end(CONSOLE_SHOWN).unwrap_or_default();
    let console = console.trim_end();
    Some(if console.is_empty() {
        format!("machine {id} {state}; its agent said nothing")
    } else {
        format!("machine {id} {state}; its agent's last words:\n{console}")
    })
}
