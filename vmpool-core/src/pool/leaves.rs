//! What becomes of a stage whose machine is on its way out. Pure.
//!
//! It ends, or it waits for the next machine: where somebody says that this one
//! can't be prepared, and where it is lost or takes too long while somebody
//! prepares it, who then goes on with the next.

use std::sync::Arc;

use super::book::StageEntry;
use crate::journal::{MachineRow, StageRow};
use crate::stage::{self, MOST_MACHINES, StageEnd, StageEvent, StageState, Tried};

/// How a stage is to leave its machine.
pub(super) enum Leaves {
    /// It ends, unless it can go on with the next machine.
    Ends(StageEnd),
    /// It waits for the next machine, as this one could not be prepared.
    Waits(Tried),
}

/// A stage as the book has it, with what its leaving depends on.
pub(super) struct Leaving {
    row: Arc<StageRow>,
    /// Somebody prepares its machine, and asks for the next one.
    goes_on: bool,
}

/// It is not possible that the stage leaves its machine so.
pub(super) struct Stays;

impl Leaving {
    pub(super) fn of(entry: &StageEntry) -> Self {
        Self {
            row: entry.row.clone(),
            goes_on: entry.preparing.is_some(),
        }
    }
}

impl Leaves {
    /// The stage's row when it has left. None: it is over already.
    pub(super) fn from(
        &self,
        machine: &MachineRow,
        stage: Option<Leaving>,
    ) -> Result<Option<Arc<StageRow>>, Stays> {
        let Some(stage) = stage.filter(|stage| !stage.row.state.is_ended()) else {
            return match self {
                Self::Ends(_) => Ok(None),
                Self::Waits(_) => Err(Stays),
            };
        };
        let event = self.event(machine, &stage)?;
        let row = &stage.row;
        let state = stage::next(&row.state, &event).map_err(|_| Stays)?;
        let mut tried = row.tried.clone();
        if let StageEvent::Unfit(unfit) = event {
            tried.push(unfit);
        }
        Ok(Some(Arc::new(StageRow {
            state,
            tried,
            version: row.version.next(),
            ..(**row).clone()
        })))
    }

    fn event(&self, machine: &MachineRow, stage: &Leaving) -> Result<StageEvent, Stays> {
        // A person wants to look at it when the stage has ended.
        let held = machine.hold.is_some();
        let end = match self {
            Self::Waits(_) if held => return Err(Stays),
            Self::Waits(unfit) => return Ok(StageEvent::Unfit(unfit.clone())),
            Self::Ends(end) => end,
        };
        let why = match end {
            StageEnd::MachineLost(why) => format!("it was lost: {why}"),
            StageEnd::Unprepared => "not in time".to_owned(),
            StageEnd::Released | StageEnd::OverTime(_) | StageEnd::Stopped(_) => {
                return Ok(StageEvent::End(end.clone()));
            }
        };
        let more = stage.row.tried.len() + 1 < MOST_MACHINES;
        let unprepared = stage.row.state == StageState::Claimed;
        if held || !more || !unprepared || !stage.goes_on {
            return Ok(StageEvent::End(end.clone()));
        }
        Ok(StageEvent::Unfit(Tried {
            machine: machine.id().clone(),
            why: why.into(),
        }))
    }
}
