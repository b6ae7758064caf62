//! A claim: from a machine that is ready to a lease that is written down.
//!
//! Until the claim's write is submitted, the machine goes back to the queue by
//! itself ([`Claim`]); after that it is never returned unless the journal says
//! that nothing was written: what became of a broken-off write is read back by
//! the keeper.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument as _;

use super::acquire::Patience;
use super::notice;
use super::queue::Claim;
use super::shared::{ReadyMachine, Shared};
use super::turn::Submitted;
use super::{AcquireError, AcquireRequest, Lease, Origin, PoolEvent};
use crate::TRACED;
use crate::clock::{Timestamp, later};
use crate::id::Version;
use crate::journal::{Batch, Change, CommitError, MachineRow, RowKey, StageRow};
use crate::machine::{self, MachineEvent};
use crate::stage::{self, StageEvent, StageState};

/// A claim's write that was begun at a request's deadline gets this long.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What became of a claim's write.
pub(super) enum Written {
    Lease(Lease),
    /// The machine is not to be had; another one may be.
    NextMachine,
    /// The stage is in the journal already.
    StageKnown,
    Failed(AcquireError),
}

impl Shared {
    pub(super) async fn write_claim(
        &self,
        claim: Claim<ReadyMachine>,
        request: &AcquireRequest,
        before: Option<&Arc<StageRow>>,
        origin: Origin,
        patience: Option<Patience>,
    ) -> Written {
        if !claim.item().health.borrow().is_answering() {
            self.unfit(claim.keep().row.id(), "its agent did not answer");
            return Written::NextMachine;
        }
        // Mostly nothing was ever said, which costs a glance.
        let ready = claim.item();
        if ready.notices.has_changed().unwrap_or(false) && notice::is_ending(&ready.notices) {
            self.unfit(claim.keep().row.id(), "its cloud has said that it ends");
            return Written::NextMachine;
        }
        let row = &claim.item().row;
        let Ok((state, _)) = machine::next(row.state, MachineEvent::Claim) else {
            self.unfit(claim.keep().row.id(), "it was in the queue and not ready");
            return Written::NextMachine;
        };
        let Ok(stage_state) = before.map_or(Ok(StageState::Claimed), |row| {
            stage::next(&row.state, &StageEvent::Claim)
        }) else {
            return Written::StageKnown;
        };
        let now = self.now();
        let (lasts, prepare) = {
            let deadlines = &self.config.deadlines;
            (request.lasts.unwrap_or(deadlines.stage), deadlines.prepare)
        };
        let claimed = Arc::new(MachineRow {
            machine: row.machine.clone(),
            spec: row.spec.clone(),
            state,
            since: now,
            cause: "a stage asked for it".into(),
            stage: Some(request.stage.clone()),
            hold: None,
            version: row.version.next(),
            ..**row
        });
        let stage = Arc::new(StageRow {
            id: request.stage.clone(),
            pool: self.name.clone(),
            machine: row.id().clone(),
            term: self.term,
            state: stage_state,
            hash: Some(request.hash),
            claimed_at: now,
            deadline: now.after(lasts),
            tried: before.map_or_else(Vec::new, |row| row.tried.clone()),
            version: before.map_or(Version(1), |row| row.version.next()),
        });
        let asked = match before {
            None => "a stage asked for a machine",
            Some(_) => "the stage asked for its next machine",
        };
        let batch = Batch {
            at: now,
            pool: self.name.clone(),
            term: self.term,
            limit: None,
            changes: vec![
                Change::new(claimed.clone(), "claimed", "a stage asked for it"),
                Change::new(stage.clone(), "claimed", asked),
            ],
            notes: Vec::new(),
        };
        let submitted = Submitted::new(self, claim, &request.stage);
        let result = match self.parts.journal.commit_now(batch) {
            Ok(result) => result,
            Err(batch) => {
                let patience = patience.unwrap_or_else(|| self.patience(request));
                let until = patience.until.max(later(LAST_WORD));
                let commit = tracing::info_span!(target: TRACED, "commit");
                let answer = self.parts.journal.commit(batch).instrument(commit);
                tokio::time::timeout_at(until, answer)
                    .await
                    .unwrap_or_else(|_| {
                        let reason = "it has not answered by the request's deadline".to_owned();
                        Err(CommitError::Ambiguous { reason })
                    })
            }
        };
        match result {
            Ok(()) => {
                submitted.settled();
                Written::Lease(self.enter_claim(claimed, stage, origin, now.after(prepare)))
            }
            // Nothing was written: the machine goes on.
            Err(CommitError::Conflict {
                key: RowKey::Stage(_),
                ..
            }) => {
                submitted.not_written();
                Written::StageKnown
            }
            Err(CommitError::Conflict { .. }) => {
                let machine = submitted.settled();
                self.unfit(machine.row.id(), "the journal has another version of it");
                Written::NextMachine
            }
            Err(error @ CommitError::Fenced { .. }) => {
                submitted.settled();
                self.fenced(&error);
                Written::Failed(Self::unwritten(request, &error))
            }
            Err(error @ CommitError::Ambiguous { .. }) => {
                drop(submitted);
                Written::Failed(Self::unwritten(request, &error))
            }
            Err(error) => {
                submitted.not_written();
                Written::Failed(Self::unwritten(request, &error))
            }
        }
    }

    /// Takes a committed claim into the book.
    pub(super) fn enter_claim(
        &self,
        machine: Arc<MachineRow>,
        stage: Arc<StageRow>,
        origin: Origin,
        prepare_by: Timestamp,
    ) -> Lease {
        let lease = Lease {
            stage: stage.id.clone(),
            machine: machine.machine.clone(),
            term: self.term,
            claimed_at: stage.claimed_at,
            deadline: stage.deadline,
            origin,
        };
        let (followers, work) = {
            let mut book = self.book.lock();
            self.announcer.tell(|| PoolEvent::Machine {
                id: machine.id().clone(),
                state: machine.state,
                stage: machine.stage.clone(),
                cause: "a stage asked for it".into(),
            });
            book.put_machine(machine);
            let soonest = book.watch_prepare(&stage, prepare_by);
            let followers = book.put_stage(stage, origin);
            // A claim that was under way when the pool began to end is one more to end.
            (followers, soonest || book.closing || book.shortfall(0) > 0)
        };
        drop(followers);
        if work {
            self.work.notify_one();
        }
        lease
    }

    fn unwritten(request: &AcquireRequest, error: &CommitError) -> AcquireError {
        AcquireError::Journal {
            stage: request.stage.clone(),
            reason: error.to_string(),
        }
    }
}
