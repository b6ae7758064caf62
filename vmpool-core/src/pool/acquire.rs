//! Acquire: pop in memory → durable claim → lease.
//!
//! A request is made once for a stage at a time; others for the same stage wait
//! for its end and find its result. Until the claim's write is submitted, the
//! machine goes back to the queue by itself ([`Claim`]); after that it is never
//! returned unless the journal says that nothing was written: what became of a
//! broken-off write is read back by the keeper.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::book;
use super::queue::{Claim, Claiming, Refusal};
use super::warm::{ReadyMachine, Shared};
use super::{
    AcquireError, AcquireRequest, AttachError, Closed, Lease, Origin, PoolEvent, RequestHash,
    TryAcquireError,
};
use crate::clock::Timestamp;
use crate::id::{MachineId, StageId, Version};
use crate::journal::{Batch, Change, CommitError, JournalError, MachineRow, RowKey, StageRow};
use crate::machine::{self, MachineEvent};
use crate::stage::StageState;

/// What became of a claim's write.
enum Written {
    Lease(Lease),
    /// The machine is not to be had; another one may be.
    NextMachine,
    /// The stage is in the journal already.
    StageKnown,
    Failed(AcquireError),
}

impl Shared {
    pub(super) async fn acquire(&self, request: &AcquireRequest) -> Result<Lease, AcquireError> {
        let result = self.acquire_in_turn(request).await;
        match &result {
            Ok(lease) => match lease.origin() {
                Origin::Warm => self.metrics.acquired(Duration::ZERO),
                Origin::Waited(span) => self.metrics.acquired(span),
                Origin::Attached => {}
            },
            Err(_) => self.metrics.refused(),
        }
        result
    }

    async fn acquire_in_turn(&self, request: &AcquireRequest) -> Result<Lease, AcquireError> {
        let turn = match self.take_turn(request).await? {
            Turn::Ours(turn) => turn,
            Turn::Through(lease) => return Ok(lease),
        };
        let mut waiting: Option<(Instant, Instant)> = None;
        loop {
            let most = self.config.max_waiting;
            let claim = match self.queue.claim(most) {
                Ok(Claiming::Now(claim)) => claim,
                Ok(Claiming::Later(wait)) => {
                    let (since, until) = *waiting.get_or_insert_with(|| {
                        let span = self.wait_span(request);
                        let now = Instant::now();
                        (now, now + span)
                    });
                    self.announcer.tell(|| PoolEvent::Waiting {
                        stage: request.stage.clone(),
                    });
                    self.work.notify_one();
                    match tokio::time::timeout_at(until, wait).await {
                        Ok(Ok(claim)) => claim,
                        Ok(Err(closed)) => return Err(self.stopped(&closed)),
                        Err(_) => {
                            // One more wanted machine is one too many now.
                            self.work.notify_one();
                            return Err(self.too_late(request, since.elapsed()));
                        }
                    }
                }
                Err(Refusal::Closed(closed)) => return Err(self.stopped(&closed)),
                Err(Refusal::Full(waiting)) => {
                    return Err(AcquireError::QueueFull {
                        pool: self.name.clone(),
                        waiting,
                    });
                }
            };
            let origin = waiting.map_or(Origin::Warm, |(since, _)| Origin::Waited(since.elapsed()));
            match self.write_claim(claim, request, origin).await {
                Written::Lease(lease) => {
                    turn.through();
                    return Ok(lease);
                }
                Written::NextMachine => {}
                Written::StageKnown => return self.known(request).await,
                Written::Failed(error) => return Err(error),
            }
        }
    }

    pub(super) async fn try_acquire(
        &self,
        request: &AcquireRequest,
    ) -> Result<Lease, TryAcquireError> {
        let turn = match self.take_turn(request).await? {
            Turn::Ours(turn) => turn,
            Turn::Through(lease) => return Ok(lease),
        };
        loop {
            let Some(claim) = self.queue.try_claim() else {
                self.work.notify_one();
                return Err(TryAcquireError::NoneReady {
                    pool: self.name.clone(),
                });
            };
            match self.write_claim(claim, request, Origin::Warm).await {
                Written::Lease(lease) => {
                    turn.through();
                    return Ok(lease);
                }
                Written::NextMachine => {}
                Written::StageKnown => return Ok(self.known(request).await?),
                Written::Failed(error) => return Err(error.into()),
            }
        }
    }

    pub(super) async fn attach(&self, stage: &StageId) -> Result<Lease, AttachError> {
        if let Some((lease, _)) = self.lease_of(stage) {
            return Ok(lease);
        }
        let failed = |error: JournalError| AttachError::Journal {
            stage: stage.clone(),
            reason: error.to_string(),
        };
        let record = self.parts.journal.stage(stage).await.map_err(failed)?;
        match record.map(|record| record.stage) {
            Some(row) if row.pool == self.name => Err(AttachError::Over {
                stage: stage.clone(),
                reason: match &row.state {
                    StageState::Ended(end) => end.to_string(),
                    other => format!("{} by another runner", other.as_str()),
                },
            }),
            _ => Err(AttachError::Unknown {
                stage: stage.clone(),
            }),
        }
    }

    /// Waits while somebody else makes the same stage's request.
    async fn take_turn(&self, request: &AcquireRequest) -> Result<Turn<'_>, AcquireError> {
        loop {
            let turn = self.book.lock().ask(&request.stage);
            match turn {
                book::Turn::Ours => {
                    let stage = request.stage.clone();
                    return Ok(Turn::Ours(Asking {
                        shared: self,
                        stage: Some(stage),
                    }));
                }
                // Ends when the other request is through, either way.
                book::Turn::Follow(through) => drop(through.await),
                book::Turn::Held => break,
            }
        }
        match self.lease_of(&request.stage) {
            Some((lease, hash)) => Self::same_request(request, hash).map(|()| Turn::Through(lease)),
            None => self.known(request).await.map(Turn::Through),
        }
    }

    fn same_request(request: &AcquireRequest, hash: RequestHash) -> Result<(), AcquireError> {
        if hash == request.hash {
            return Ok(());
        }
        Err(AcquireError::Conflict {
            stage: request.stage.clone(),
            field: "content",
        })
    }

    /// The stage is in the journal: its lease, or how it ended.
    async fn known(&self, request: &AcquireRequest) -> Result<Lease, AcquireError> {
        match self.attach(&request.stage).await {
            Ok(lease) => Ok(lease),
            Err(AttachError::Over { stage, reason }) => {
                Err(AcquireError::StageOver { stage, reason })
            }
            Err(AttachError::Unknown { stage }) => Err(AcquireError::StageOver {
                stage,
                reason: "it belongs to another pool".to_owned(),
            }),
            Err(AttachError::Journal { stage, reason }) => {
                Err(AcquireError::Journal { stage, reason })
            }
        }
    }

    async fn write_claim(
        &self,
        claim: Claim<ReadyMachine>,
        request: &AcquireRequest,
        origin: Origin,
    ) -> Written {
        if !claim.item().health.borrow().is_answering() {
            let sick = claim.keep();
            self.book.lock().sick.push(sick.row.id().clone());
            self.work.notify_one();
            return Written::NextMachine;
        }
        let row = &claim.item().row;
        let Ok((state, _)) = machine::next(row.state, MachineEvent::Claim) else {
            return Written::NextMachine;
        };
        let now = self.now();
        let (lasts, prepare) = {
            let deadlines = &self.config.deadlines;
            (request.lasts.unwrap_or(deadlines.stage), deadlines.prepare)
        };
        let claimed = Arc::new(MachineRow {
            machine: row.machine.clone(),
            state,
            since: now,
            stage: Some(request.stage.clone()),
            version: row.version.next(),
            ..**row
        });
        let stage = Arc::new(StageRow {
            id: request.stage.clone(),
            pool: self.name.clone(),
            machine: row.id().clone(),
            term: self.term,
            state: StageState::Claimed,
            hash: request.hash,
            claimed_at: now,
            deadline: now.after(lasts),
            version: Version(1),
        });
        let batch = Batch {
            at: now,
            pool: self.name.clone(),
            term: self.term,
            limit: None,
            changes: vec![
                Change::new(claimed.clone(), "claimed", "a stage asked for it"),
                Change::new(stage.clone(), "claimed", "a stage asked for a machine"),
            ],
        };
        let submitted = Submitted::new(self, claim, request.stage.clone());
        let result = self.parts.journal.commit(batch).await;
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
                self.reload_soon(machine.row.id());
                Written::NextMachine
            }
            Err(error @ CommitError::Fenced { .. }) => {
                submitted.settled();
                self.stop_taking(&error.to_string());
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
        self.announcer.tell(|| PoolEvent::Machine {
            id: machine.id().clone(),
            state: machine.state,
            stage: machine.stage.clone(),
            cause: "a stage asked for it".into(),
        });
        let (followers, refill) = {
            let mut book = self.book.lock();
            book.put_machine(machine);
            book.watch_prepare(stage.id.clone(), prepare_by);
            let followers = book.put_stage(stage, origin);
            (followers, book.shortfall(0) > 0)
        };
        drop(followers);
        if refill {
            self.work.notify_one();
        }
        lease
    }

    fn wait_span(&self, request: &AcquireRequest) -> Duration {
        request.wait.unwrap_or(self.config.deadlines.acquire)
    }

    fn unwritten(request: &AcquireRequest, error: &CommitError) -> AcquireError {
        AcquireError::Journal {
            stage: request.stage.clone(),
            reason: error.to_string(),
        }
    }

    fn stopped(&self, closed: &Closed) -> AcquireError {
        AcquireError::Stopped {
            pool: self.name.clone(),
            reason: closed.0.to_string(),
            evidence: self.book.lock().evidence(Timestamp(0)),
        }
    }

    fn too_late(&self, request: &AcquireRequest, waited: Duration) -> AcquireError {
        let now = self.now();
        let since = Timestamp(
            now.0
                .saturating_sub(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX)),
        );
        AcquireError::Deadline {
            pool: self.name.clone(),
            stage: request.stage.clone(),
            waited,
            evidence: self.book.lock().evidence(since),
        }
    }
}

/// Whose request it is.
enum Turn<'a> {
    Ours(Asking<'a>),
    Through(Lease),
}

/// Holds the stage's request; dropped before that is through, those who wait
/// for the same go on.
struct Asking<'a> {
    shared: &'a Shared,
    stage: Option<StageId>,
}

impl Asking<'_> {
    /// The stage has its machine, and the book says so.
    fn through(mut self) {
        self.stage = None;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Some(stage) = &self.stage else { return };
        let followers = self.shared.book.lock().asked(stage);
        // Outside the lock: each wakes its waiter.
        drop(followers);
    }
}

/// A machine whose claim is being written. Dropped before the answer came, it
/// leaves a doubt for the keeper to read back.
struct Submitted<'a> {
    shared: &'a Shared,
    claim: Option<Claim<ReadyMachine>>,
    stage: StageId,
}

impl<'a> Submitted<'a> {
    fn new(shared: &'a Shared, claim: Claim<ReadyMachine>, stage: StageId) -> Self {
        Self {
            shared,
            claim: Some(claim),
            stage,
        }
    }

    /// Nothing was written: the machine goes to the next who waits.
    fn not_written(mut self) {
        drop(self.claim.take());
    }

    /// The machine's fate is known; it does not go back to the queue.
    fn settled(mut self) -> ReadyMachine {
        self.claim.take().expect("a claim is settled once").keep()
    }
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            let machine: MachineId = claim.keep().row.id().clone();
            self.shared.book.lock().doubt(machine, self.stage.clone());
            self.shared.work.notify_one();
        }
    }
}
