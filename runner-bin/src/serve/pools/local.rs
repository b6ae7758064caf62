//! Pools whose machines are processes of this host.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use vmpool_agent::ThrowAway;
use vmpool_core::agent::Clocks;
use vmpool_core::{Machine, SecretBytes};
use vmpool_local::{AgentCommand, LocalProvider, Program};
use vmpool_pipeline::{LocalSpec, Source};

use crate::serve::desk::Desk;

/// From a local machine's launch until its agent answers: a process of a busy
/// host needs a second.
pub(super) const BOOTING: Duration = Duration::from_mins(1);

/// Where machines of this host come from.
///
/// # Errors
/// This host can't have such machines.
pub(super) fn provider(spec: &LocalSpec, clocks: Clocks) -> anyhow::Result<LocalProvider> {
    let provider = match &spec.root {
        Some(root) => LocalProvider::with_root(AgentCommand::ThisProgram, root)?,
        None => LocalProvider::new(AgentCommand::ThisProgram)?,
    };
    let provider = provider.with_clocks(clocks);
    if spec.agent.is_empty() {
        return Ok(provider);
    }
    let command = spec.agent.clone();
    Ok(
        provider.with_program(&spec.agent.join(" "), move |bootstrap| {
            let born_with = ThrowAway::of(bootstrap)?;
            Ok(Program {
                command: command.clone(),
                ca_pem: born_with.ca_pem,
                cert_pem: born_with.agent_cert_pem,
                key_pem: SecretBytes::new(born_with.agent_key_pem.expose().as_bytes()),
            })
        }),
    )
}

/// Where steps begin on machines that are not of this host.
const ELSEWHERE: &str = "/tmp/vmpool/workspace";

/// Where steps begin on machines whose agents speak the incumbent's protocol:
/// on the disk of their machine, with which it goes.
pub(in crate::serve) fn workspaces(desk: Desk) -> impl Fn(&Machine) -> PathBuf + use<> {
    // A pool that is in the file no more may have stages still.
    let known = Mutex::new(HashMap::new());
    move |machine| {
        let pools = desk.pools();
        let mut known = known.lock();
        if let Some(pool) = pools.pool(machine.pool.as_str()) {
            let root = match &pool.source {
                Source::Local(spec) => Some(spec.root.clone()),
                Source::Amazon(_) => None,
            };
            known.insert(pool.name.clone(), root);
        }
        match known.get(machine.pool.as_str()) {
            Some(None) => ELSEWHERE.into(),
            Some(Some(root)) => LocalProvider::disk(root.as_deref(), &machine.id).join("workspace"),
            None => LocalProvider::disk(None, &machine.id).join("workspace"),
        }
    }
}
