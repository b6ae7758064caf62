//! Tags that a stage's caller wants its machine to carry, written after the
//! machine was handed out: nobody waits for them.
//!
//! They are of use to people who look at the provider's console. Where they
//! can't be written, the build goes on without, and the pool says so.

use std::collections::BTreeMap;

use super::WarmPool;
use super::launch::chain;
use super::look::{Pause, in_time};
use crate::account::{CallKind, Priority};
use crate::id::MachineId;

/// So often it is tried: what then stands in the way will stay.
const TRIES: u32 = 5;

impl WarmPool {
    /// Has the provider write `tags` to the machine, by a task of its own and
    /// within the account's budget (P8).
    pub(crate) fn tag_soon(&self, machine: &MachineId, tags: BTreeMap<String, String>) {
        if tags.is_empty() {
            return;
        }
        let (shared, machine) = (self.shared.clone(), machine.clone());
        self.shared.spawn("tag a machine", async move {
            let mut pause = Pause::new();
            for left in (0..TRIES).rev() {
                let account = &shared.parts.account;
                let pass = account.pass(CallKind::Other, Priority::Audit).await;
                let call = shared.parts.provider.tag(&machine, &tags);
                match pass.make(in_time("tag a machine", call)).await {
                    Ok(()) => return,
                    Err(error) if left == 0 || !error.kind.is_retryable() => {
                        shared.trouble(Some(&machine), chain(&error));
                        return;
                    }
                    Err(_) => pause.wait().await,
                }
            }
        });
    }
}
