//! Acquire: a request's way from its turn over the queue to a [claim](super::claim).
//!
//! A request is made once for a stage at a time; others for the same stage wait
//! for its end and find its result.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument as _;

use super::book;
use super::claim::Written;
use super::queue::{Claiming, Refusal};
use super::shared::Shared;
use super::turn::Asking;
use super::waits::Waiting;
use super::{
    AcquireError, AcquireRequest, AttachError, Closed, Lease, Origin, PoolEvent, RequestHash,
    TryAcquireError,
};
use crate::TRACED;
use crate::clock::{Timestamp, later};
use crate::id::StageId;
use crate::journal::{JournalError, StageRow};
use crate::stage::StageState;

impl Shared {
    pub(super) async fn acquire(&self, request: &AcquireRequest) -> Result<Lease, AcquireError> {
        let mut waiting = None;
        let result = self.acquire_in_turn(request, &mut waiting).await;
        if let Some(waiting) = waiting {
            waiting.through();
        }
        match &result {
            Ok(lease) => match lease.origin() {
                Origin::Warm => self.metrics.found(),
                Origin::Waited(span) => self.metrics.waited(span),
                Origin::Attached => {}
            },
            Err(error) => self.ends_without(request, error),
        }
        result
    }

    async fn acquire_in_turn<'a>(
        &'a self,
        request: &'a AcquireRequest,
        waits: &mut Option<Waiting<'a>>,
    ) -> Result<Lease, AcquireError> {
        let mut waiting: Option<Patience> = None;
        let turn = match self.take_turn(request, &mut waiting).await? {
            Turn::Ours(turn) => turn,
            Turn::Through(lease) => return Ok(lease),
        };
        let mut place = None;
        loop {
            let claiming = match place.take() {
                None => self.queue.claim(self.config.max_waiting),
                // It was given a machine that could not be had: others came later.
                Some(place) => self.queue.claim_again(place),
            };
            let claim = match claiming {
                Ok(Claiming::Now(claim)) => claim,
                Ok(Claiming::Later(wait)) => {
                    let patience = *waiting.get_or_insert_with(|| self.patience(request));
                    waits.get_or_insert_with(|| self.waits(request));
                    self.announcer.tell(|| PoolEvent::Waiting {
                        stage: request.stage.clone(),
                    });
                    self.work.notify_one();
                    let queue = tracing::info_span!(target: TRACED, "queue");
                    let waited = tokio::time::timeout_at(patience.until, wait);
                    match waited.instrument(queue).await {
                        Ok(Ok(claim)) => claim,
                        // It was cordoned and is open again.
                        Ok(Err(_)) if self.queue.closed().is_none() => continue,
                        Ok(Err(closed)) => return Err(self.stopped(&closed)),
                        Err(_) => return Err(self.too_late(request, patience)),
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
            if !*self.may_write.borrow() {
                let patience = *waiting.get_or_insert_with(|| self.patience(request));
                self.wait_for_the_lease(request, patience).await?;
            }
            let origin = waiting.map_or(Origin::Warm, |p| Origin::Waited(p.since.elapsed()));
            place = Some(claim.place());
            let written = self.write_claim(claim, request, turn.before.as_ref(), origin, waiting);
            match written.await {
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
        let none_ready = || TryAcquireError::NoneReady {
            pool: self.name.clone(),
        };
        let asked = self.book.lock().ask(&request.stage);
        let turn = match asked {
            book::Turn::Ours(before) => self.asking(request, before)?,
            // Somebody waits with the same request; this one does not.
            book::Turn::Follow(_) => return Err(none_ready()),
            book::Turn::Held => return Ok(self.held(request).await?),
        };
        loop {
            let Some(claim) = self.queue.try_claim() else {
                return Err(match self.queue.closed() {
                    Some(closed) => self.stopped(&closed).into(),
                    None => none_ready(),
                });
            };
            if !*self.may_write.borrow() {
                return Err(self.not_ruling(request).into());
            }
            let before = turn.before.as_ref();
            let written = self.write_claim(claim, request, before, Origin::Warm, None);
            match written.await {
                Written::Lease(lease) => {
                    turn.through();
                    self.metrics.found();
                    return Ok(lease);
                }
                Written::NextMachine => {}
                Written::StageKnown => return Ok(self.known(request).await?),
                Written::Failed(error) => {
                    self.metrics.refused(&error);
                    return Err(error.into());
                }
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
        let stage = stage.clone();
        match record.map(|record| record.stage) {
            Some(row) if row.pool == self.name => Err(match &row.state {
                StageState::Ended(end) => AttachError::Over {
                    stage,
                    reason: end.to_string(),
                },
                StageState::Waiting => AttachError::Unknown { stage },
                // Its claim was durable a moment ago, and is not in the book
                // yet; or the pool is another's, who made it.
                state => AttachError::Journal {
                    stage,
                    reason: format!("it is {} by a claim not known here yet", state.as_str()),
                },
            }),
            _ => Err(AttachError::Unknown { stage }),
        }
    }

    /// Waits while somebody else makes the same stage's request.
    async fn take_turn<'a>(
        &'a self,
        request: &'a AcquireRequest,
        waiting: &mut Option<Patience>,
    ) -> Result<Turn<'a>, AcquireError> {
        loop {
            let turn = self.book.lock().ask(&request.stage);
            let through = match turn {
                book::Turn::Ours(before) => {
                    return self.asking(request, before).map(Turn::Ours);
                }
                book::Turn::Follow(through) => through,
                book::Turn::Held => return self.held(request).await.map(Turn::Through),
            };
            let patience = *waiting.get_or_insert_with(|| self.patience(request));
            tokio::select! {
                biased;
                // Ends when the other request is through, either way.
                _ = through => {}
                () = tokio::time::sleep_until(patience.until) => {
                    return Err(self.too_late(request, patience));
                }
                // What became of the other's claim is not read back any more.
                () = self.stop.cancelled() => {
                    return Err(self.stopped(&Closed("its tasks have ended".into())));
                }
            }
        }
    }

    fn asking<'a>(
        &'a self,
        request: &'a AcquireRequest,
        before: Option<Arc<StageRow>>,
    ) -> Result<Asking<'a>, AcquireError> {
        let hash = before.as_ref().and_then(|row| row.hash);
        let asking = Asking {
            shared: self,
            stage: Some(&request.stage),
            before,
        };
        Self::same_request(request, hash).map(|()| asking)
    }

    /// The lease of a stage that has its machine.
    async fn held(&self, request: &AcquireRequest) -> Result<Lease, AcquireError> {
        match self.lease_of(&request.stage) {
            Some((lease, hash)) => Self::same_request(request, hash).map(|()| lease),
            None => self.known(request).await,
        }
    }

    fn same_request(
        request: &AcquireRequest,
        hash: Option<RequestHash>,
    ) -> Result<(), AcquireError> {
        if hash.is_none_or(|hash| hash == request.hash) {
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

    /// Another runner may rule the pool: what waits goes on waiting.
    async fn wait_for_the_lease(
        &self,
        request: &AcquireRequest,
        patience: Patience,
    ) -> Result<(), AcquireError> {
        tokio::select! {
            biased;
            () = self.allowed() => Ok(()),
            () = self.stop.cancelled() => {
                Err(self.stopped(&Closed("its tasks have ended".into())))
            }
            () = tokio::time::sleep_until(patience.until) => {
                Err(self.not_ruling(request))
            }
        }
    }

    fn not_ruling(&self, request: &AcquireRequest) -> AcquireError {
        AcquireError::Journal {
            stage: request.stage.clone(),
            reason: format!("the lease of pool {} was not renewed in time", self.name),
        }
    }

    pub(super) fn patience(&self, request: &AcquireRequest) -> Patience {
        let span = request.wait.unwrap_or(self.config.deadlines.acquire);
        Patience {
            since: Instant::now(),
            until: later(span),
        }
    }

    fn stopped(&self, closed: &Closed) -> AcquireError {
        if let Some(cordoned) = self.cordoned() {
            return cordoned;
        }
        AcquireError::Stopped {
            pool: self.name.clone(),
            reason: closed.0.to_string(),
            evidence: self.book.lock().evidence(Timestamp(0)),
        }
    }

    fn too_late(&self, request: &AcquireRequest, patience: Patience) -> AcquireError {
        let since = self.parts.clock.at(patience.since);
        let mut evidence = self.book.lock().evidence(since);
        evidence.push(self.stands());
        AcquireError::Deadline {
            pool: self.name.clone(),
            stage: request.stage.clone(),
            waited: patience.since.elapsed(),
            evidence,
        }
    }
}

/// Since when a request waits, and until when it does.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    since: Instant,
    pub(super) until: Instant,
}

/// Whose request it is.
enum Turn<'a> {
    Ours(Asking<'a>),
    Through(Lease),
}
