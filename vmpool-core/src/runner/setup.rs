//! Setup: a machine for a stage, prepared.
//!
//! ```text
//! acquire ─► claimed (durable) ─► the agent prepares ─► prepared (durable) ─► lease
//!    ▲                               │
//!    └─────── waiting (durable) ◄────┘ it could not
//! ```
//!
//! Each part may be repeated, by the same caller or another, in this runner or
//! the next: it goes on where it is (P9). A machine that could not be prepared
//! is given up at once, and the stage gets the next one of its pool, within the
//! time that its request may wait and up to [`MOST_MACHINES`]; its end names each.
//!
//! [`MOST_MACHINES`]: crate::stage::MOST_MACHINES

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::reign::{PAUSE, Reign};
use super::stages::{Phase, StageEntry};
use super::{RunnerError, SetupRequest};
use crate::TRACED;
use crate::executor::ExecutorError;
use crate::id::{MachineId, StageId};
use crate::pool::{
    AcquireError, AcquireRequest, AttachError, Lease, Onward, Pool as _, TryAcquireError,
};
use crate::stage::{StageEnd, StageError, StageEvent, Tried, told};
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
        loop {
            let claimed = tokio::select! {
                biased;
                () = entry.destroyed.cancelled() => return Err(destroyed(&request.stage)),
                claimed = self
                    .claim(request, begun)
                    .instrument(tracing::info_span!(target: TRACED, "claim", pool = %self.name)) => claimed,
            };
            let lease = match claimed {
                Ok(lease) => lease,
                Err(error) => return Err(self.without_another(entry, error).await),
            };
            let prepared = entry
                .prepared
                .get_or_try_init(|| self.prepare(entry, &lease, &request.setup))
                .instrument(tracing::info_span!(
                    target: TRACED, "prepare", machine = %lease.machine_id()
                ));
            match prepared.await {
                Ok(machine) if machine == lease.machine_id() => {
                    self.pool.tag_soon(machine, request.tags.clone());
                    return Ok(lease);
                }
                // It was another's lease that was prepared, or none yet.
                Ok(_) | Err(Unprepared::Again) => {}
                Err(Unprepared::Over(error)) => return Err(error),
            }
        }
    }

    /// What is answered to a request that got no machine, or none again. A stage
    /// that had some is over then: what it was tried on says why.
    async fn without_another(&self, entry: &StageEntry, error: RunnerError) -> RunnerError {
        use AcquireError::{Cordoned, Deadline, QueueFull};
        let tried = self.pool.tried(&entry.id);
        let ends = matches!(
            &error,
            RunnerError::Acquire(Deadline { .. } | QueueFull { .. } | Cordoned { .. })
        );
        if tried.is_empty() || !ends || !entry.is_asked_once() {
            return error;
        }
        let reason = format!("{}; {error}", told(&tried));
        let end = StageEvent::End(StageEnd::Stopped(reason.as_str().into()));
        if let Err(unwritten) = self.pool.note(&entry.id, end).await {
            // Nobody asks for it any more, which ends it.
            self.trouble(unwritten.to_string());
        }
        RunnerError::Unprepared {
            stage: entry.id.clone(),
            reason,
        }
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

    /// Gives the machine that is prepared. By one caller at a time.
    async fn prepare(
        &self,
        entry: &StageEntry,
        lease: &Lease,
        setup: &StageSetup,
    ) -> Result<MachineId, Unprepared> {
        let stage = &entry.id;
        let Some(preparing) = self.pool.prepares(lease) else {
            // Another caller may have found meanwhile that it can't be prepared.
            return Err(match self.pool.attach(stage).await {
                Ok(_) | Err(AttachError::Unknown { .. }) => Unprepared::Again,
                Err(error) => RunnerError::from(error).into(),
            });
        };
        entry.now_has(Some(lease.clone()));
        if entry.destroyed.is_cancelled() {
            let released = self.pool.release(stage).await;
            released.map_err(|error| RunnerError::from(StageError::from(error)))?;
            return Err(destroyed(stage).into());
        }
        // The agent's stage rests on the claim, which is durable: that its setup
        // is sent is not written down, so that nobody waits for a commit more.
        let failed = tokio::select! {
            biased;
            why = entry.ended() => return Err(over(entry, &why, &preparing.tried).into()),
            () = preparing.left() => None,
            done = self.prepare_there(lease, setup) => match done {
                Ok(()) => match self.pool.note(stage, StageEvent::Prepared).await {
                    Ok(()) => return Ok(lease.machine_id().clone()),
                    Err(_) if preparing.has_left() => None,
                    Err(error) => return Err(RunnerError::from(error).into()),
                },
                Err(error) => Some(error),
            },
        };
        let Some(error) = failed else {
            // It was lost, or the time to prepare it is over.
            entry.now_has(None);
            return Err(Unprepared::Again);
        };
        Err(self.unprepared(entry, lease, error).await)
    }

    /// What follows from a machine's word that it can't be prepared.
    async fn unprepared(
        &self,
        entry: &StageEntry,
        lease: &Lease,
        error: ExecutorError,
    ) -> Unprepared {
        match &error {
            // Another setup of the same stage was the first.
            ExecutorError::Conflict { .. } => {}
            // Under another term the machine is another runner's to give up.
            ExecutorError::Refused { .. } if self.obeys_another().await => {}
            // No machine could carry it out.
            ExecutorError::Invalid { .. } => {
                let end = StageEvent::End(StageEnd::Stopped(error.to_string().into()));
                if let Err(unwritten) = self.pool.note(&entry.id, end).await {
                    // The prepare deadline ends it.
                    self.trouble(unwritten.to_string());
                }
            }
            _ => {
                return match self.pool.unfit(lease, &error.to_string()).await {
                    Ok(Onward::Waits) => {
                        entry.now_has(None);
                        Unprepared::Again
                    }
                    Ok(Onward::Over { reason }) => {
                        let stage = entry.id.clone();
                        RunnerError::Unprepared { stage, reason }.into()
                    }
                    // Who asks again finds the same machine, or the prepare deadline ends it.
                    Err(unwritten) => RunnerError::from(StageError::from(unwritten)).into(),
                };
            }
        }
        RunnerError::from(error).into()
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

/// Why a machine was not prepared.
enum Unprepared {
    /// It is the stage's no more: the one that is, or the next, is to be prepared.
    Again,
    /// That is the answer.
    Over(RunnerError),
}

impl From<RunnerError> for Unprepared {
    fn from(error: RunnerError) -> Self {
        Self::Over(error)
    }
}

/// What is answered once the stage has ended for `why`.
fn over(entry: &StageEntry, why: &str, tried: &[Tried]) -> RunnerError {
    if tried.is_empty() {
        return entry.is_over(why);
    }
    entry.is_over(&format!("{}; then: {why}", told(tried)))
}

fn destroyed(stage: &StageId) -> RunnerError {
    let stage = stage.clone();
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
