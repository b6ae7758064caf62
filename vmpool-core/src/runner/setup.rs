//! Setup: a machine for a stage, prepared.
//!
//! ```text
//! acquire ─► claimed (durable) ─► the agent prepares ─► prepared (durable) ─► lease
//! ```
//!
//! Each part may be repeated, by the same caller or another, in this runner or
//! the next: it goes on where it is (P9). A machine that could not be prepared
//! is given up at once, and the stage's end says why.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::reign::{PAUSE, Reign};
use super::stages::{Phase, StageEntry};
use super::{RunnerError, SetupRequest};
use crate::TRACED;
use crate::executor::ExecutorError;
use crate::id::StageId;
use crate::pool::{AcquireError, AcquireRequest, AttachError, Lease, Pool as _, TryAcquireError};
use crate::stage::{StageEnd, StageError, StageEvent};
use crate::step::StageSetup;

/// The journal is asked for so long whether a stage had its machine.
const ANSWERED: Duration = Duration::from_secs(10);

impl Reign {
    /// A prepared machine for the stage.
    pub(super) async fn setup(
        self: &Arc<Self>,
        request: &SetupRequest,
    ) -> Result<Lease, RunnerError> {
        let begun = Instant::now();
        if !self.is_settled() && !self.is_written(&request.stage).await {
            // Its time to wait for a machine has begun, too.
            let patience = request.wait.unwrap_or(Duration::MAX);
            let _ = timeout(patience, self.settled()).await;
        }
        let asking = Asking::new(self, request);
        let entry = &asking.entry;
        let lease = tokio::select! {
            biased;
            () = entry.destroyed.cancelled() => return Err(destroyed(request)),
            lease = self
                .claim(request, begun)
                .instrument(tracing::info_span!(target: TRACED, "claim", pool = %self.name)) => lease?,
        };
        entry.lease.get_or_init(|| lease.clone());
        if entry.destroyed.is_cancelled() {
            self.pool
                .release(&request.stage)
                .await
                .map_err(StageError::from)?;
            return Err(destroyed(request));
        }
        let prepared = entry
            .prepared
            .get_or_try_init(|| self.prepare(entry, &lease, &request.setup))
            .instrument(tracing::info_span!(
                target: TRACED, "prepare", machine = %lease.machine_id()
            ));
        prepared.await?;
        let machine = lease.machine_id();
        self.pool.tag_soon(machine, request.tags.clone());
        Ok(lease)
    }

    /// The journal is known to have the stage, so it need not be looked for.
    async fn is_written(&self, stage: &StageId) -> bool {
        let record = self.parts.journal.stage(stage).await;
        record.is_ok_and(|record| record.is_some())
    }

    async fn claim(&self, request: &SetupRequest, begun: Instant) -> Result<Lease, RunnerError> {
        let hash = self.pool.keyed_hash(&request.setup.content());
        loop {
            let waited = begun.elapsed();
            let wanted = AcquireRequest {
                stage: request.stage.clone(),
                wait: request.wait.map(|wait| wait.saturating_sub(waited)),
                lasts: request.lasts,
                zone: request.zone.clone(),
                hash,
            };
            match self.pool.try_acquire(wanted.clone()).await {
                Ok(lease) => return Ok(lease),
                Err(TryAcquireError::Acquire(error)) => return Err(error.into()),
                Err(TryAcquireError::NoneReady { .. }) => {}
            }
            // Who asks for a stage that had its machine need not wait for another.
            match self.pool.attach(&request.stage).await {
                Err(AttachError::Over { stage, reason }) => {
                    return Err(AcquireError::StageOver { stage, reason }.into());
                }
                Ok(_) | Err(AttachError::Unknown { .. }) => {
                    return Ok(self.pool.acquire(wanted).await?);
                }
                Err(error @ AttachError::Journal { .. }) => {
                    let patience = request.wait.map_or(ANSWERED, |wait| wait.min(ANSWERED));
                    if waited >= patience {
                        return Err(error.into());
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn prepare(
        &self,
        entry: &StageEntry,
        lease: &Lease,
        setup: &StageSetup,
    ) -> Result<(), RunnerError> {
        let stage = &entry.id;
        // The agent's stage rests on the claim, which is durable: that its setup
        // is sent is not written down, so that nobody waits for a commit more.
        let error = tokio::select! {
            biased;
            why = entry.ended() => return Err(entry.is_over(&why)),
            done = self.prepare_there(lease, setup) => match done {
                Ok(()) => return Ok(self.pool.note(stage, StageEvent::Prepared).await?),
                Err(error) => error,
            },
        };
        let kept = match &error {
            // Another setup of the same stage was the first.
            ExecutorError::Conflict { .. } => true,
            // Under another term the machine is another runner's to give up.
            ExecutorError::Refused { .. } => self.obeys_another().await,
            _ => false,
        };
        if !kept {
            let end = StageEvent::End(StageEnd::Stopped(error.to_string().into()));
            if let Err(unwritten) = self.pool.note(stage, end).await {
                // The prepare deadline ends it.
                self.trouble(unwritten.to_string());
            }
        }
        Err(error.into())
    }

    /// Whether a machine is lost is the pool's to say: until then one that does
    /// not answer is asked again.
    async fn prepare_there(&self, lease: &Lease, setup: &StageSetup) -> Result<(), ExecutorError> {
        let begun = Instant::now();
        loop {
            self.connected(lease).await;
            match self.parts.executor.prepare(lease, setup).await {
                Err(ExecutorError::MachineLost { .. }) => tokio::time::sleep(PAUSE).await,
                done => {
                    if done.is_ok() {
                        self.measures.prepared(begun.elapsed());
                    }
                    return done;
                }
            }
        }
    }
}

fn destroyed(request: &SetupRequest) -> RunnerError {
    let stage = request.stage.clone();
    let reason = "it was destroyed while it waited for a machine".to_owned();
    AcquireError::StageOver { stage, reason }.into()
}

/// A request under way. Dropped, it leaves nothing of a stage that got no machine.
struct Asking<'a> {
    reign: &'a Reign,
    entry: Arc<StageEntry>,
}

impl<'a> Asking<'a> {
    fn new(reign: &'a Reign, request: &SetupRequest) -> Self {
        let id = &request.stage;
        let entry = reign.stage_asked(id, || StageEntry::new(id.clone(), None, Phase::Open));
        Self { reign, entry }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.reign
            .forget_if(&self.entry, || self.entry.asked_in_vain());
    }
}
