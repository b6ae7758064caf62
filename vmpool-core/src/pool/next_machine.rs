//! The next machine for a stage whose machine could not be prepared.
//!
//! ```text
//! claimed ─► the machine drains, the stage waits ─► claimed: another machine
//!                   (one commit)                   (a claim as any)
//! ```
//!
//! The stage gives its machine up before it asks for another: in a pool that is
//! at its limit, that machine's slot is what the next one needs (P7). Between the
//! two it is in the journal with no machine, and ends if nobody asks on for it.
//! The machine that it had never served it, and serves nobody else (P2).

use std::borrow::Cow;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::advance::{AdvanceError, MOST_SWAPS};
use super::leaves::Leaves;
use super::shared::Shared;
use super::{Lease, Origin, ReleaseError, WarmPool};
use crate::id::{MachineId, StageId};
use crate::journal::{Change, CommitError, StageRow};
use crate::machine::MachineEvent;
use crate::stage::{self, MOST_MACHINES, StageEnd, StageEvent, Tried, told};

/// How a stage goes on whose machine could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Onward {
    /// It waits for its next machine.
    Waits,
    /// It has ended.
    Over {
        /// What it was tried on, and why that did not do.
        reason: String,
    },
}

/// Held while a stage's machine is prepared, by who goes on with the next one:
/// if the machine is lost meanwhile, or not prepared in time, the stage waits for
/// that and does not end.
pub(crate) struct Preparing {
    shared: Arc<Shared>,
    stage: StageId,
    machine: MachineId,
    left: CancellationToken,
    /// What the stage was tried on before.
    pub(crate) tried: Vec<Tried>,
}

impl Preparing {
    /// Waits until the stage has left the machine to wait for the next one.
    pub(crate) async fn left(&self) {
        self.left.cancelled().await;
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.is_cancelled()
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        let mut book = self.shared.book.lock();
        book.prepares(&self.stage, &self.machine, None);
    }
}

impl WarmPool {
    /// The machine of `lease` is prepared from now on. None: it is not its stage's
    /// any more. One at a time prepares a stage's machine.
    pub(crate) fn prepares(&self, lease: &Lease) -> Option<Preparing> {
        let (stage, machine) = (lease.stage(), lease.machine_id());
        let left = CancellationToken::new();
        let tried = {
            let mut book = self.shared.book.lock();
            let row = book.prepares(stage, machine, Some(left.clone()))?;
            row.tried.clone()
        };
        Some(Preparing {
            shared: self.shared.clone(),
            stage: stage.clone(),
            machine: machine.clone(),
            left,
            tried,
        })
    }

    /// The machine of `lease` can't be prepared for its stage: gives it up, and
    /// the stage with it if it was tried on as many as it may be. Durable.
    ///
    /// # Errors
    /// It could not be written down: call again.
    pub(crate) async fn unfit(&self, lease: &Lease, why: &str) -> Result<Onward, ReleaseError> {
        self.shared.unfit_for(lease, why).await
    }

    /// What the stage was tried on so far, if it goes on.
    pub(crate) fn tried(&self, stage: &StageId) -> Vec<Tried> {
        self.shared.tried(stage)
    }
}

impl Shared {
    async fn unfit_for(&self, lease: &Lease, why: &str) -> Result<Onward, ReleaseError> {
        let (id, stage) = (lease.machine_id(), lease.stage());
        let unfit = Tried {
            machine: id.clone(),
            why: why.into(),
        };
        let cause = unfit.to_string();
        self.trouble(Some(id), format!("stage {stage}: {cause}"));
        let mut tried = self.tried(stage);
        tried.push(unfit.clone());
        if tried.len() < MOST_MACHINES && self.has(id, stage) {
            let (event, waits) = (MachineEvent::Drain, Leaves::Waits(unfit));
            let left = self.advance_and(id, event, cause.clone().into(), Some(waits));
            match left.await {
                Ok(_) | Err(AdvanceError::Unknown | AdvanceError::Refused(_)) => {}
                Err(error) => return Err(unwritten(stage, &error)),
            }
            self.retire.notify_one();
        }
        if self.has_stage_at(stage, lease) {
            // It was tried on enough, or a person keeps the machine to look at it.
            let end = StageEnd::Stopped(told(&tried).into());
            self.end_stage(stage, cause, end).await?;
        }
        if self.book.lock().waiting(stage).is_some() {
            return Ok(Onward::Waits);
        }
        let reason = told(&tried);
        Ok(Onward::Over { reason })
    }

    fn tried(&self, stage: &StageId) -> Vec<Tried> {
        let book = self.book.lock();
        let row = book.stage_row(stage);
        row.map(|row| row.tried.clone()).unwrap_or_default()
    }

    /// The stage has the machine of that lease.
    fn has_stage_at(&self, stage: &StageId, lease: &Lease) -> bool {
        let book = self.book.lock();
        let entry = book.stage(stage);
        entry.is_some_and(|entry| entry.row.machine == *lease.machine_id())
    }

    /// Ends a stage that waits for its next machine: there is none to give up.
    pub(super) async fn end_waiting(
        &self,
        stage: &StageId,
        cause: Cow<'static, str>,
        end: StageEnd,
    ) -> Result<(), ReleaseError> {
        for _ in 0..MOST_SWAPS {
            let row = self.book.lock().waiting(stage).cloned();
            let Some(row) = row else {
                // It has ended, or got its machine at this moment.
                return Box::pin(self.end_stage(stage, cause, end)).await;
            };
            let event = StageEvent::End(end.clone());
            let Ok(state) = stage::next(&row.state, &event) else {
                return Ok(());
            };
            let after = Arc::new(StageRow {
                state,
                version: row.version.next(),
                ..(*row).clone()
            });
            let what = after.state.as_str();
            let change = Change::new(after.clone(), what, cause.clone());
            match self.commit(vec![change]).await {
                Ok(()) => {
                    self.metrics.stage_ended(&after.state);
                    tracing::info!(
                        pool = %self.name, %stage, machine = %after.machine, %cause, "a stage ended"
                    );
                    let followers = self.book.lock().put_stage(after, Origin::Attached);
                    // Outside the lock: each wakes its waiter.
                    drop(followers);
                    return Ok(());
                }
                Err(CommitError::Conflict { .. } | CommitError::Ambiguous { .. }) => {
                    let read = self.reload_stage(stage).await;
                    read.map_err(|error| unwritten(stage, &error))?;
                }
                Err(error) => return Err(unwritten(stage, &error)),
            }
        }
        let reason = "the row changes all the time".to_owned();
        let stage = stage.clone();
        Err(ReleaseError { stage, reason })
    }
}

fn unwritten(stage: &StageId, error: &dyn std::error::Error) -> ReleaseError {
    ReleaseError {
        stage: stage.clone(),
        reason: error.to_string(),
    }
}
