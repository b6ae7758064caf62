//! Machines that people keep after their stages' ends.
//!
//! A hold is part of the machine's row. While the stage goes on it changes
//! nothing; when the stage ends, the machine becomes held instead of draining,
//! unless it is lost or the pool shuts down, and drains when the time is up. Its
//! agent is told, so that it neither cleans up nor ends itself before.

use std::sync::Arc;
use std::time::Duration;

use super::advance::MOST_SWAPS;
use super::leaves::Leaves;
use super::shared::Shared;
use super::tend::RENEWAL_PATIENCE;
use crate::id::{MachineId, StageId};
use crate::journal::{Change, CommitError, MachineRow};
use crate::machine::{Hold, MachineEvent, MachineState};
use crate::stage::StageEnd;

/// Why a stage's machine is not held.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// It has none in this pool.
    #[error("stage {stage} has no machine")]
    Unknown {
        /// The stage.
        stage: StageId,
    },
    /// Its machine is on its way out.
    #[error("machine {machine} of stage {stage} is {state} already: hold a stage while it runs")]
    Ending {
        /// The stage.
        stage: StageId,
        /// Its machine.
        machine: MachineId,
        /// What that does.
        state: MachineState,
    },
    /// The machine may not be there so long.
    #[error("machine {machine} expires in {}: it can't be held longer", crate::explain::span(*.most))]
    TooLong {
        /// The machine.
        machine: MachineId,
        /// How long it may be there.
        most: Duration,
    },
    /// The journal could not take it.
    #[error("write down that the machine of stage {stage} is held: {reason}")]
    Journal {
        /// The stage.
        stage: StageId,
        /// What the journal said.
        reason: String,
    },
}

impl Shared {
    pub(super) async fn hold(
        &self,
        stage: &StageId,
        hold: Hold,
    ) -> Result<Arc<MachineRow>, HoldError> {
        let told = hold.told();
        let held = |row: &MachineRow| {
            let begun = row.state == MachineState::Held;
            Some(if begun {
                hold.begun(self.now(), row.expires_at)
            } else {
                hold.clone()
            })
        };
        let most = |row: &MachineRow| {
            let most = row.expires_at.since(self.now());
            let machine = row.id().clone();
            if hold.lasts > most {
                return Err(HoldError::TooLong { machine, most });
            }
            Ok(())
        };
        let row = self.change_hold(stage, &told, most, held).await?;
        tracing::info!(pool = %self.name, %stage, machine = %row.id(), "{told}");
        self.tell_hold_again(row.id()).await;
        Ok(row)
    }

    pub(super) async fn let_go(&self, stage: &StageId) -> Result<(), HoldError> {
        let told = "it is not to be held any more";
        let row = match self.change_hold(stage, told, |_| Ok(()), |_| None).await {
            Ok(row) => row,
            // It has ended, or is about to.
            Err(HoldError::Unknown { .. } | HoldError::Ending { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        // One that was held has no time left, which the keeper sees.
        self.work.notify_one();
        if row.state == MachineState::Claimed {
            self.tell_hold(&row, Duration::ZERO).await;
        }
        Ok(())
    }

    /// Writes another hold into the row of the stage's machine.
    async fn change_hold(
        &self,
        stage: &StageId,
        cause: &str,
        check: impl Fn(&MachineRow) -> Result<(), HoldError>,
        hold: impl Fn(&MachineRow) -> Option<Hold>,
    ) -> Result<Arc<MachineRow>, HoldError> {
        let unwritten = |reason: String| HoldError::Journal {
            stage: stage.clone(),
            reason,
        };
        for _ in 0..MOST_SWAPS {
            let known = self.book.lock().machine_of(stage).map(|it| it.row.clone());
            let Some(row) = known else {
                let stage = stage.clone();
                return Err(HoldError::Unknown { stage });
            };
            let id = row.id().clone();
            if !matches!(row.state, MachineState::Claimed | MachineState::Held) {
                return Err(HoldError::Ending {
                    stage: stage.clone(),
                    machine: id,
                    state: row.state,
                });
            }
            check(&row)?;
            let after = Arc::new(MachineRow {
                hold: hold(&row).map(Arc::new),
                version: row.version.next(),
                ..(*row).clone()
            });
            let what = after.state.as_str();
            let change = Change::new(after.clone(), what, cause.to_owned());
            match self.commit(vec![change]).await {
                Ok(()) => {
                    self.book.lock().put_machine(after.clone());
                    // Its end comes at another time.
                    self.work.notify_one();
                    return Ok(after);
                }
                Err(CommitError::Conflict { .. } | CommitError::Ambiguous { .. }) => {
                    let read = self.reload(&id).await;
                    let found = read.map_err(|error| unwritten(error.to_string()))?;
                    if found.as_ref() == Some(&after) {
                        return Ok(after);
                    }
                }
                Err(error) => return Err(unwritten(error.to_string())),
            }
        }
        Err(unwritten("the row changes all the time".to_owned()))
    }

    /// The event of a stage's end, for a machine that is to be kept.
    pub(super) fn rather_held(
        &self,
        row: &MachineRow,
        event: MachineEvent,
        leaves: Option<&Leaves>,
    ) -> MachineEvent {
        let ends = row.state == MachineState::Claimed && event == MachineEvent::Drain;
        let keeps = match leaves {
            Some(Leaves::Ends(end)) => !matches!(end, StageEnd::MachineLost(_)),
            Some(Leaves::Waits(_)) | None => false,
        };
        if ends && keeps && row.hold.is_some() && !self.book.lock().ending {
            MachineEvent::Hold
        } else {
            event
        }
    }

    pub(super) fn is_held(&self, id: &MachineId) -> bool {
        let book = self.book.lock();
        book.machine(id)
            .is_some_and(|entry| entry.row.state == MachineState::Held)
    }

    /// Tells a machine's agent how long it is held, if it is to be.
    pub(super) async fn tell_hold_again(&self, id: &MachineId) {
        let row = self.book.lock().machine(id).map(|entry| entry.row.clone());
        let Some(row) = row else { return };
        let Some(hold) = row.hold.clone() else { return };
        // The agent's stage ends no sooner than ours did.
        let lasts = match hold.until {
            Some(until) => until.since(row.since),
            None => hold.lasts,
        };
        self.tell_hold(&row, lasts).await;
    }

    async fn tell_hold(&self, row: &MachineRow, lasts: Duration) {
        let (id, Some(stage)) = (row.id(), &row.stage) else {
            return;
        };
        let told = self.parts.link.hold(id, self.term, stage, lasts);
        match tokio::time::timeout(RENEWAL_PATIENCE, told).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let text = format!("tell {id} that it is held: {error}; it is told again");
                self.trouble(Some(id), text);
            }
            Err(_) => self.trouble(Some(id), format!("{id} does not take that it is held")),
        }
    }
}
