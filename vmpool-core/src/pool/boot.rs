//! What a machine's start went to, as notes in the journal: one for each phase
//! that its agent tells when it connects for the first time, at the time when
//! the phase began by our clock. `explain` makes phases of them again.

use std::time::Duration;

use super::shared::Shared;
use crate::id::Version;
use crate::journal::{Event, MachineRow, RowKey};
use crate::link::BootPhase;

/// Notes of one machine at most; an agent is believed no further.
const MOST: usize = 64;
/// Characters of a phase's name at most.
const LONGEST_NAME: usize = 64;
/// What these notes are called.
const BOOT: &str = "boot";
/// Between a phase's name and its time in the note.
const TOOK: &str = " took ";

impl Shared {
    /// Has what the machine's start went to written down.
    pub(super) fn tell_boot(&self, row: &MachineRow, phases: &[BootPhase]) {
        let now = self.now();
        phases
            .iter()
            .take(MOST)
            .for_each(|phase| self.metrics.boot_phase(phase));
        let mut book = self.book.lock();
        for phase in phases.iter().take(MOST) {
            let began = now.before(phase.began_ago).max(row.launched_at);
            let key = RowKey::Machine(row.id().clone());
            book.waits.note(began, key, BOOT, cause(phase));
        }
        drop(book);
        self.work.notify_one();
    }
}

fn cause(phase: &BootPhase) -> String {
    let name = phase.name.chars().filter(|char| !char.is_control());
    let name: String = name.take(LONGEST_NAME).collect();
    format!("{name}{TOOK}{:.2} s", phase.took.as_secs_f64())
}

/// The name and the time of the phase that a note tells, if that is what it tells.
pub(crate) fn phase_of(event: &Event) -> Option<(&str, Duration)> {
    let tells = event.version == Version(0)
        && event.what == BOOT
        && matches!(event.key, RowKey::Machine(_));
    let (name, took) = event.cause.rsplit_once(TOOK).filter(|_| tells)?;
    let took = took.strip_suffix(" s")?.parse().ok()?;
    Some((name, Duration::try_from_secs_f64(took).ok()?))
}
