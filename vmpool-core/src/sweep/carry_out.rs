//! Ends what a plan says, each machine with its own result.

use std::time::Duration;

use super::Doomed;
use crate::id::MachineId;
use crate::provider::{Provider, ProviderError};

/// Machines of one call to the provider.
const BATCH: usize = 50;

/// A call that takes longer has failed: a sweep ends, whatever the provider does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A machine that was told to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// The machine.
    pub machine: Doomed,
    /// Why it could not be ended; none: the provider took the call.
    pub failed: Option<String>,
}

/// Ends `machines`. Where the provider refuses several at once, each is told by
/// itself, so that one bad machine saves no other.
///
/// # Cancel safety
/// A dropped call leaves machines that were not told yet; sweep again.
pub async fn carry_out(provider: &dyn Provider, machines: Vec<Doomed>) -> Vec<Swept> {
    let mut swept = Vec::with_capacity(machines.len());
    for batch in machines.chunks(BATCH) {
        let ids: Vec<_> = batch.iter().map(|machine| machine.id.clone()).collect();
        let refused = terminate(provider, &ids).await;
        for machine in batch {
            let failed = match &refused {
                Some(_) if batch.len() > 1 => {
                    terminate(provider, std::slice::from_ref(&machine.id)).await
                }
                refused => refused.clone(),
            };
            let machine = machine.clone();
            swept.push(Swept { machine, failed });
        }
    }
    swept
}

/// Why the provider did not take the call, if it did not.
async fn terminate(provider: &dyn Provider, ids: &[MachineId]) -> Option<String> {
    match tokio::time::timeout(PATIENCE, provider.terminate(ids)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(told(&error)),
        Err(_) => Some(format!("the provider did not answer within {PATIENCE:?}")),
    }
}

/// The error with what the provider said.
pub(super) fn told(error: &ProviderError) -> String {
    match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
