//! How a request for a machine stands, for who waits for its answer.

use super::WarmPool;
use super::shared::Shared;
use crate::id::{MachineId, StageId};
use crate::machine::MachineState;

/// How a stage's request for a machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nobody asks for a machine for it, or its request is just being taken.
    None,
    /// It waits.
    Waiting {
        /// Its place among those who wait, from 1.
        position: u32,
        /// What comes for it.
        coming: Coming,
    },
    /// It has its machine.
    Claimed {
        /// The machine.
        machine: MachineId,
    },
}

/// What comes for a request that waits, if all that is under way goes well: the
/// first in the queue get the machines that are nearest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coming {
    /// A machine that boots.
    Booting,
    /// One that is ordered.
    Launching,
    /// None: each that is under way is for another, or none may be ordered.
    Nothing {
        /// What holds orders off, if it is known.
        why: Option<String>,
    },
}

impl WarmPool {
    /// How the stage's request for a machine stands. Costs as much as there are
    /// requests that wait, however many machines there are.
    pub fn progress(&self, stage: &StageId) -> Progress {
        self.shared.progress(stage)
    }
}

impl Shared {
    fn progress(&self, stage: &StageId) -> Progress {
        let (position, booting, ordered, full) = {
            let book = self.book.lock();
            if let Some(entry) = book.stage(stage) {
                let machine = entry.row.machine.clone();
                return Progress::Claimed { machine };
            }
            let Some(position) = book.waits.position(stage) else {
                return Progress::None;
            };
            let booting = book.count(MachineState::Booting) + book.count(MachineState::Resuming);
            let limit = book.size.limit;
            let full = (book.occupied() >= limit)
                .then(|| format!("the pool has as many machines as it may have: {limit}"));
            (position, booting, book.open_slots(), full)
        };
        let coming = if position <= booting {
            Coming::Booting
        } else if position <= booting + ordered {
            Coming::Launching
        } else {
            let waiting = u32::try_from(self.queue.waiting()).unwrap_or(u32::MAX);
            Coming::Nothing {
                why: full.or_else(|| self.held_off(waiting)),
            }
        };
        Progress::Waiting { position, coming }
    }
}
