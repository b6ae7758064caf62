//! A stage that a machine has and the journal does not know: the journal was
//! lost while it ran. It gets its rows back from what the agent says of itself,
//! so that its build goes on (P4).
//!
//! Only a machine whose boot the journal was waiting for is taken so: one that
//! it holds for ready must have no stage, and is drained.

use std::sync::Arc;

use super::advance::MOST_SWAPS;
use super::keeper::JOURNAL_PAUSE;
use super::shared::Shared;
use super::{Origin, PoolEvent};
use crate::id::{MachineId, StageId, Version};
use crate::journal::{Change, CommitError, JournalError, MachineRow, StageRow, StepRow};
use crate::link::AgentReport;
use crate::machine::{self, MachineEvent};
use crate::stage::StageState;

/// A machine and its stage as they are written down.
struct Adopted {
    machine: Arc<MachineRow>,
    stage: Arc<StageRow>,
    steps: Vec<Arc<StepRow>>,
}

impl Shared {
    /// Gives `stage` its rows. False: the journal knows another story of it.
    pub(super) async fn adopt_stage(
        &self,
        id: &MachineId,
        stage: &StageId,
        report: &AgentReport,
    ) -> bool {
        for _ in 0..MOST_SWAPS {
            let known = self.book.lock().machine(id).map(|entry| entry.row.clone());
            let Some(adopted) = known.and_then(|row| self.adoption(&row, stage, report)) else {
                return false;
            };
            match self.write_adoption(&adopted).await {
                Ok(true) => {
                    self.enter_adoption(adopted, report.ended);
                    return true;
                }
                Ok(false) => return false,
                Err(error) => self.trouble(Some(id), format!("adopt stage {stage}: {error}")),
            }
            tokio::time::sleep(JOURNAL_PAUSE).await;
        }
        false
    }

    fn adoption(&self, row: &MachineRow, stage: &StageId, report: &AgentReport) -> Option<Adopted> {
        let (state, _) = machine::next(row.state, MachineEvent::Adopt).ok()?;
        let now = self.now();
        let machine = MachineRow {
            state,
            since: now,
            cause: format!("its agent has stage {stage}, which the journal did not know").into(),
            stage: Some(stage.clone()),
            version: row.version.next(),
            ..row.clone()
        };
        let stage = StageRow {
            id: stage.clone(),
            pool: self.name.clone(),
            machine: row.id().clone(),
            term: self.term,
            state: if report.prepared || report.ended {
                StageState::Prepared
            } else {
                StageState::Claimed
            },
            hash: None,
            claimed_at: now,
            // Its agent knows its own, and keeps it.
            deadline: now.after(self.config.deadlines.stage),
            tried: Vec::new(),
            version: Version(1),
        };
        let steps = report.steps.iter().map(|step| {
            Arc::new(StepRow {
                stage: stage.id.clone(),
                id: step.id.clone(),
                hash: None,
                // Whoever attaches to it is told its whole result.
                outcome: None,
                version: Version(1),
            })
        });
        Some(Adopted {
            steps: steps.collect(),
            machine: Arc::new(machine),
            stage: Arc::new(stage),
        })
    }

    /// False: it is not to be written. Errors may pass.
    async fn write_adoption(&self, adopted: &Adopted) -> Result<bool, CommitError> {
        let Adopted {
            machine,
            stage,
            steps,
        } = adopted;
        let unreadable = |error: JournalError| CommitError::Unavailable {
            reason: error.to_string(),
        };
        let journal = &self.parts.journal;
        if let Some(known) = journal.stage(&stage.id).await.map_err(unreadable)? {
            // What an attempt before wrote, and did not hear of.
            let ours = known.stage.hash.is_none() && known.stage.machine == stage.machine;
            return Ok(ours && !known.stage.state.is_ended());
        }
        let cause = &machine.cause;
        let mut changes = vec![
            Change::new(machine.clone(), "claimed", cause.clone()),
            Change::new(stage.clone(), "adopted", cause.clone()),
        ];
        changes.extend(
            steps
                .iter()
                .map(|step| Change::new(step.clone(), "adopted", cause.clone())),
        );
        self.commit(changes).await.map(|()| true)
    }

    fn enter_adoption(&self, adopted: Adopted, ended: bool) {
        let Adopted {
            machine,
            stage,
            steps,
        } = adopted;
        let id = stage.id.clone();
        let prepare_by = stage.claimed_at.after(self.config.deadlines.prepare);
        let followers = {
            let mut book = self.book.lock();
            self.announcer.tell(|| PoolEvent::Machine {
                id: machine.id().clone(),
                state: machine.state,
                stage: machine.stage.clone(),
                cause: machine.cause.clone(),
            });
            book.put_machine(machine);
            if stage.state != StageState::Prepared {
                book.watch_prepare(&stage, prepare_by);
            }
            let followers = book.put_stage(stage, Origin::Attached);
            if let Some(known) = book.steps_mut(&id) {
                known.extend(steps.into_iter().map(|step| (step.id.clone(), step)));
            }
            if ended {
                book.releases.push(id);
            }
            followers
        };
        // Outside the lock: each wakes its waiter.
        drop(followers);
        self.work.notify_one();
    }
}
