//! A machine's key, pinned in the journal before it is trusted (DESIGN §7): the
//! same key again is fine, another one never is.

use std::sync::Arc;

use async_trait::async_trait;

use super::advance::MOST_SWAPS;
use super::shared::Shared;
use crate::id::MachineId;
use crate::journal::{Change, CommitError};
use crate::link::{KeyHash, PinError, PinKey};

#[async_trait]
impl PinKey for Shared {
    async fn pin(&self, machine: &MachineId, key: KeyHash) -> Result<(), PinError> {
        let not_written = |reason: String| PinError::NotWritten {
            machine: machine.clone(),
            reason,
        };
        for _ in 0..MOST_SWAPS {
            let row = self
                .book
                .lock()
                .machine(machine)
                .map(|entry| entry.row.clone());
            let Some(row) = row else {
                return Err(not_written("it is gone".to_owned()));
            };
            match row.machine.key {
                Some(pinned) if pinned == key => return Ok(()),
                Some(_) => {
                    return Err(PinError::OtherKey {
                        machine: machine.clone(),
                    });
                }
                None => {}
            }
            let after = Arc::new(row.with_key(key));
            let change = Change::new(after.clone(), after.state.as_str(), "its key is pinned");
            match self.commit(vec![change]).await {
                Ok(()) => {
                    self.book.lock().put_machine(after);
                    return Ok(());
                }
                // It may be there; if not, it is written again.
                Err(CommitError::Conflict { .. } | CommitError::Ambiguous { .. }) => {
                    let read = self.reload(machine).await;
                    read.map_err(|error| not_written(error.to_string()))?;
                }
                Err(error) => return Err(not_written(error.to_string())),
            }
        }
        Err(not_written("the row changes all the time".to_owned()))
    }
}
