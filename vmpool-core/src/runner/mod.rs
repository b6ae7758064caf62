//! The whole runner without wires: pools, stages, steps, ownership. What HTTP,
//! gRPC, other runners and the simulation call.
//!
//! ```text
//! Runner ── a pool each: tenancy ── while it is ours: Reign ──┬─ WarmPool
//!                        (take, renew, stop in time)          ├─ stages: setup, destroy
//!                                                             ├─ steps: a follower each
//!                                                             └─ saving, from draining machines
//! ```
//!
//! - A pool is ruled by one runner at a time, under a term (DESIGN §6). One
//!   that could not renew its lease in time changes nothing any more; running
//!   steps go on, and so does waiting for them.
//! - What is answered is in the journal (P5); what is in memory only is what
//!   a setup and a step contain.
//! - Every call may be repeated, here or at the next runner, and goes on where
//!   it is (P9). A runner that ends takes nothing with it (P4).

mod error;
mod follow;
mod given;
mod lease;
mod measures;
mod parts;
mod record;
mod reign;
mod saving;
mod settling;
mod setup;
mod shared;
mod stages;
mod standing;
mod step;
mod story;
mod tenancy;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

pub use error::{RunnerError, RunnerStartError};
pub use given::Reloaded;
pub use parts::{LeaseTimes, PoolSource, RunnerParts, SetupRequest, Sharing};
pub use standing::{PoolOwner, PoolStanding};

use crate::executor::LogSinkError;
use crate::facts::Facts;
use crate::id::{MachineId, PoolName, StageId, StepId};
use crate::journal::{Cordon, Journal, JournalError, MachineRow};
use crate::machine::Hold;
use crate::map::Set;
use crate::pool::{Evidence, Lease, Leftovers, Pool as _};
use crate::stage::StageError;
use crate::step::{Returned, Step, StepOutcome};
use reign::Reign;
use shared::{Shared, Standing};
use stages::StageEntry;

/// A runner: owns pools, sets stages up on their machines, follows their steps.
///
/// A handle: clones are the same runner. When the last one is dropped, its
/// tasks end as by a crash: machines, stages and steps stay as they are, for
/// the next runner on the same journal.
#[derive(Debug, Clone)]
pub struct Runner {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

impl Runner {
    /// Starts a runner: takes the pools that it can, goes on with what the
    /// journal knows of them, and takes the others when their owner's lease ends.
    ///
    /// Must be called within a tokio runtime, on which the runner's tasks run.
    ///
    /// # Errors
    /// The sources contradict each other, or the journal can't be read.
    pub async fn start(
        parts: RunnerParts,
        pools: Vec<PoolSource>,
    ) -> Result<Self, RunnerStartError> {
        check(&parts, &pools)?;
        let shared = Shared::new(parts, pools);
        let runner = Self {
            _stop: Arc::new(shared.stop.clone().drop_guard()),
            shared,
        };
        let given = runner.shared.given.read().clone();
        let mut firsts = Vec::with_capacity(given.len());
        for pool in given {
            let (first, begun) = oneshot::channel();
            let shared = runner.shared.clone();
            runner.shared.spawn(shared.own(pool, Some(first)));
            firsts.push(begun);
        }
        for begun in firsts {
            // Its task can't have ended without a word, unless a bug ended it.
            if let Ok(begun) = begun.await {
                begun?;
            }
        }
        runner.shared.spawn(runner.shared.clone().keep_house());
        Ok(runner)
    }

    /// Has these pools from now on, instead of those it had. Machines, stages
    /// and steps go on as they are. A pool of which the size alone differs is
    /// resized; one with another provider (another [`Arc`]) or other settings
    /// begins anew, and replaces its machines of another
    /// [`spec`](crate::Capabilities::spec) a few at a time; one that
    /// is left out takes no new stages, and is given up when its last machine
    /// is gone. Requests that wait for a pool that begins anew end with
    /// [`RunnerError::NotOurs`], to be made again.
    ///
    /// # Errors
    /// A pool is there twice: nothing has changed.
    pub fn reload(&self, pools: Vec<PoolSource>) -> Result<Reloaded, RunnerStartError> {
        self.shared.reload(pools)
    }

    /// A machine for a stage, prepared. Idempotent, also with itself (P9): a
    /// stage that has its machine gets the same again. One whose machine can't be
    /// prepared, is lost meanwhile or takes too long gets the next one, as long as
    /// the request may wait and up to [`MOST_MACHINES`](crate::stage::MOST_MACHINES).
    ///
    /// # Errors
    /// No machine, or none that could be prepared: the stage is over.
    ///
    /// # Cancel safety
    /// A dropped call leaves the stage where it is; a further one goes on, or
    /// the prepare deadline ends it.
    pub async fn setup(&self, request: SetupRequest) -> Result<Lease, RunnerError> {
        let begun = Instant::now();
        let reign = self.shared.reign_or_owner(&request.pool).await?;
        let ended = reign.ours(reign.setup(&request)).await;
        reign.measures.setup(&ended, begun.elapsed());
        ended
    }

    /// Starts a step, or attaches to it, and waits for its end. What is
    /// answered is durable (P5); a repeated call gets the same answer, also
    /// after the stage's end.
    ///
    /// # Errors
    /// How the step ended is not known. A step that fails is `Ok`.
    ///
    /// # Cancel safety
    /// Safe: a dropped call leaves the step running, and followed.
    pub async fn step(&self, stage: &StageId, step: Step) -> Result<StepOutcome, RunnerError> {
        let hash = self.shared.parts.link.keyed_hash(&step.content());
        if let Some((reign, entry)) = self.here(stage) {
            return reign.ours(reign.step(&entry, step, hash)).await;
        }
        let Some(record) = self.shared.record(stage).await? else {
            return Err(RunnerError::UnknownStage {
                stage: stage.clone(),
            });
        };
        // What has ended anybody may tell, whose ever the pool is.
        if let Some(outcome) = step::recorded(&record, &step.id, hash)? {
            return Ok(outcome);
        }
        let reign = self.shared.reign_or_owner(&record.stage.pool).await?;
        let ask = async {
            reign.read_in(stage).await?;
            match reign.stage(stage) {
                Some(entry) => reign.step(&entry, step, hash).await,
                None => Err(reign.pool.attach(stage).await.err().map_or_else(
                    || RunnerError::UnknownStage {
                        stage: stage.clone(),
                    },
                    RunnerError::from,
                )),
            }
        };
        reign.ours(ask).await
    }

    /// Cancels a step; who waits for it is answered. One that has ended is no error.
    ///
    /// # Errors
    /// There is no such stage, or the agent was not reached.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn cancel(&self, stage: &StageId, step: &StepId) -> Result<(), RunnerError> {
        if let Some((reign, entry)) = self.here(stage) {
            return reign.ours(reign.cancel(&entry, step)).await;
        }
        let Some(pool) = self.pool_of(stage).await? else {
            return Err(RunnerError::UnknownStage {
                stage: stage.clone(),
            });
        };
        let reign = self.shared.reign_or_owner(&pool).await?;
        let cancel = async {
            reign.read_in(stage).await?;
            match reign.stage(stage) {
                Some(entry) => reign.cancel(&entry, step).await,
                // The stage is over, and its steps are.
                None => Ok(()),
            }
        };
        reign.ours(cancel).await
    }

    /// Ends a stage and gives its machine up. Returns once that is durable;
    /// the end of its steps and of its machine follows. An unknown stage, or
    /// one that has ended, is no error.
    ///
    /// # Errors
    /// It could not be written down: call again.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn destroy(&self, stage: &StageId) -> Result<(), RunnerError> {
        let Some(reign) = self.reign_to_end(stage).await? else {
            return Ok(());
        };
        let released = async {
            let released = reign.pool.release(stage).await;
            Ok(released.map_err(StageError::from)?)
        };
        reign.ours(released).await
    }

    /// As [`Runner::destroy`], by a person's word: who asks for the stage again
    /// is told `why`, and a stage that nobody knows is an error.
    ///
    /// # Errors
    /// There is no such stage, or it could not be written down: call again.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn stop(&self, stage: &StageId, why: &str) -> Result<(), RunnerError> {
        let Some(reign) = self.reign_to_end(stage).await? else {
            return match self.shared.record(stage).await? {
                Some(_) => Ok(()),
                None => Err(RunnerError::UnknownStage {
                    stage: stage.clone(),
                }),
            };
        };
        let stopped = async {
            let stopped = reign.pool.stop(stage, why).await;
            Ok(stopped.map_err(StageError::from)?)
        };
        reign.ours(stopped).await
    }

    /// Who is to end the stage; it stops waiting for a machine, if it does.
    /// None: there is nothing to end.
    async fn reign_to_end(&self, stage: &StageId) -> Result<Option<Arc<Reign>>, RunnerError> {
        if let Some((reign, entry)) = self.here(stage) {
            if !entry.has_machine() {
                // It waits for a machine: a later setup of the same id is another.
                reign.forget(&entry);
                entry.destroyed.cancel();
            }
            return Ok(Some(reign));
        }
        match self.shared.record(stage).await? {
            Some(record) if !record.stage.state.is_ended() => {
                let reign = self.shared.reign_or_owner(&record.stage.pool).await?;
                Ok(Some(reign))
            }
            _ => Ok(None),
        }
    }

    /// Keeps a stage's machine after the stage's end, for a person to look at
    /// it: see [`WarmPool::hold`](crate::WarmPool::hold). Gives its row.
    ///
    /// # Errors
    /// There is no such stage, or its machine can't be kept.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn hold(
        &self,
        stage: &StageId,
        lasts: Duration,
        by: &str,
        why: &str,
    ) -> Result<Arc<MachineRow>, RunnerError> {
        let reign = self.reign_of(stage).await?;
        let hold = Hold {
            lasts,
            by: by.into(),
            why: why.into(),
            at: self.shared.parts.clock.now(),
            until: None,
        };
        let held = async { Ok(reign.pool.hold(stage, hold).await?) };
        reign.ours(held).await
    }

    /// Keeps a stage's machine no longer. One that is not kept is no error.
    ///
    /// # Errors
    /// There is no such stage, or it could not be written down.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn let_go(&self, stage: &StageId) -> Result<(), RunnerError> {
        let reign = self.reign_of(stage).await?;
        let let_go = async { Ok(reign.pool.let_go(stage).await?) };
        reign.ours(let_go).await
    }

    /// Who rules the pool of a stage, be it over.
    async fn reign_of(&self, stage: &StageId) -> Result<Arc<Reign>, RunnerError> {
        if let Some(reign) = self.shared.reign_with(stage) {
            return Ok(reign);
        }
        match self.shared.record(stage).await? {
            Some(record) => self.shared.reign_or_owner(&record.stage.pool).await,
            None => Err(RunnerError::UnknownStage {
                stage: stage.clone(),
            }),
        }
    }

    /// Why a pool can't be asked here: it is another's, nobody's, or unknown.
    pub fn not_ours(&self, pool: &PoolName) -> RunnerError {
        let pool = pool.clone();
        match self.owner(&pool) {
            PoolOwner::Theirs(holder) => RunnerError::NotOurs {
                pool,
                holder: Some(holder),
            },
            PoolOwner::Ours | PoolOwner::Nobodys => RunnerError::NotOurs { pool, holder: None },
            PoolOwner::Unknown => RunnerError::UnknownPool { pool },
        }
    }

    /// Has a pool take no new stages, by a person's word: see [`WarmPool::cordon`](crate::WarmPool::cordon).
    ///
    /// # Errors
    /// There is no such pool here, or it could not be written down: call again.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn cordon(
        &self,
        pool: &PoolName,
        drains: bool,
        by: &str,
        why: &str,
    ) -> Result<(), RunnerError> {
        let reign = self.shared.reign_or_owner(pool).await?;
        let cordon = Cordon {
            drains,
            by: by.into(),
            why: why.into(),
            at: self.shared.parts.clock.now(),
        };
        let said = async { Ok(reign.pool.cordon(cordon).await?) };
        reign.ours(said).await
    }

    /// Has a pool take stages again, and fills it now: see [`WarmPool::fill`](crate::WarmPool::fill).
    ///
    /// # Errors
    /// As for [`Runner::cordon`].
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub async fn fill(&self, pool: &PoolName) -> Result<(), RunnerError> {
        let reign = self.shared.reign_or_owner(pool).await?;
        let said = async { Ok(reign.pool.fill().await?) };
        reign.ours(said).await
    }

    /// What a step has returned, as it was durable before its end was told; any
    /// runner of the deployment may say so.
    ///
    /// # Errors
    /// The store of logs could not be read.
    pub async fn returned(&self, stage: &StageId, step: &StepId) -> Result<Returned, LogSinkError> {
        self.shared.parts.logs.returned(stage, step).await
    }

    /// Where a machine of a pool that this runner was given is, if its provider
    /// knows without asking.
    pub fn zone(&self, pool: &PoolName, machine: &MachineId) -> Option<Arc<str>> {
        let given = self.shared.given.read();
        let given = given.iter().find(|given| given.name == *pool)?;
        let source = given.source.borrow();
        source.provider.zone(machine)
    }

    /// What a machine of a pool that this runner was given costs at this moment,
    /// in US dollars an hour, if its provider knows without asking.
    pub fn dollars_an_hour(&self, pool: &PoolName, machine: &MachineId) -> Option<f64> {
        let given = self.shared.given.read();
        let given = given.iter().find(|given| given.name == *pool)?;
        let source = given.source.borrow();
        source.provider.dollars_an_hour(machine)
    }

    /// Who owns a pool, as this runner knows it.
    pub fn owner(&self, pool: &PoolName) -> PoolOwner {
        self.shared.owner(pool)
    }

    /// Whether this runner was given the pool, or a runner that is there rules it.
    ///
    /// # Errors
    /// The journal could not be read.
    pub async fn knows(&self, pool: &PoolName) -> Result<bool, JournalError> {
        let given = self.owner(pool) != PoolOwner::Unknown;
        Ok(given || self.shared.others(pool).await?.is_some())
    }

    /// The pool of a stage, also after the stage's end.
    ///
    /// # Errors
    /// The journal could not be read.
    pub async fn pool_of(&self, stage: &StageId) -> Result<Option<PoolName>, JournalError> {
        if let Some(reign) = self.shared.reign_with(stage) {
            return Ok(Some(reign.name.clone()));
        }
        let record = self.shared.record(stage).await?;
        Ok(record.map(|record| record.stage.pool.clone()))
    }

    /// All pools that this runner knows of.
    pub fn status(&self) -> Vec<PoolStanding> {
        let shared = &self.shared;
        let given = shared.given.read().clone();
        let given = given.into_iter().map(|pool| {
            let name = pool.name.clone();
            let (owner, status) = match pool.standing() {
                Standing::Ours(reign) => {
                    let mut status = reign.pool.status();
                    status.evidence.extend(shared.troubles.of(Some(&name)));
                    status.evidence.sort_by_key(|evidence| evidence.at);
                    (PoolOwner::Ours, Some(status))
                }
                Standing::Theirs(holder) => (PoolOwner::Theirs(holder), None),
                Standing::Nobodys => (PoolOwner::Nobodys, None),
            };
            PoolStanding {
                name,
                owner,
                status,
            }
        });
        let unknown = shared.unknown.lock().clone();
        let unknown = unknown.into_iter().map(|name| PoolStanding {
            name,
            owner: PoolOwner::Unknown,
            status: None,
        });
        given.chain(unknown).collect()
    }

    /// Moves whenever the status of any pool may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.shared.parts.journal
    }

    /// How a machine fares, if its connection is open here: see
    /// [`AgentLink::facts`](crate::AgentLink::facts).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn facts(&self, machine: &MachineId) -> Option<Facts> {
        self.shared.parts.link.facts(machine).await
    }

    /// The pools that this runner was given, and those that it was and that
    /// have machines still.
    pub fn sources(&self) -> Vec<PoolSource> {
        let given = self.shared.given.read();
        given
            .iter()
            .map(|pool| pool.source.borrow().clone())
            .collect()
    }

    /// Stops, and lets another runner go on at once: requests that wait end
    /// with [`RunnerError::NotOurs`], the pools are given up, machines, stages
    /// and steps stay as they are.
    ///
    /// # Cancel safety
    /// A dropped call leaves the runner stopping; call again to wait.
    pub async fn hand_over(&self) {
        self.shared.leaving.cancel();
        self.shared.tasks.close();
        // Each pool's task gives it up and ends; house is kept until then.
        self.shared.tasks.wait().await;
    }

    /// Stops and ends all machines of the pools that are ours, waiting no
    /// longer than `patience`.
    ///
    /// # Cancel safety
    /// As for [`WarmPool::shutdown`](crate::WarmPool::shutdown).
    pub async fn shutdown(&self, patience: Duration) -> Leftovers {
        let mut ending = JoinSet::new();
        for reign in self.shared.reigns() {
            let pool = reign.pool.clone();
            ending.spawn(async move { pool.shutdown(patience).await });
        }
        let mut left = Leftovers {
            machines: Vec::new(),
            open_slots: 0,
        };
        while let Some(of_one) = ending.join_next().await {
            // A pool whose shut-down a bug ended tells nothing.
            let Ok(of_one) = of_one else { continue };
            left.machines.extend(of_one.machines);
            left.open_slots += of_one.open_slots;
        }
        self.hand_over().await;
        left
    }

    /// What went wrong with the whole runner lately, the latest last. What
    /// went wrong with one pool is in its status.
    pub fn troubles(&self) -> Vec<Evidence> {
        self.shared.troubles.of(None)
    }

    /// The stage, where it is in memory.
    fn here(&self, stage: &StageId) -> Option<(Arc<Reign>, Arc<StageEntry>)> {
        self.shared.reigns().into_iter().find_map(|reign| {
            let entry = reign.stage(stage)?;
            Some((reign, entry))
        })
    }
}

fn check_names(pools: &[PoolSource]) -> Result<(), RunnerStartError> {
    let mut names = Set::default();
    for source in pools {
        if !names.insert(&source.config.name) {
            return Err(RunnerStartError::TwicePool {
                pool: source.config.name.clone(),
            });
        }
    }
    Ok(())
}

fn check(parts: &RunnerParts, pools: &[PoolSource]) -> Result<(), RunnerStartError> {
    check_names(pools)?;
    if let Sharing::Shared(times) = parts.sharing {
        let wrong = |reason| Err(RunnerStartError::LeaseTimes { reason });
        if times.renew_every.is_zero() {
            return wrong("they are never renewed");
        }
        if times.stop_after >= times.lease {
            return wrong("a runner must stop before its lease ends");
        }
        if times.renew_every >= times.stop_after {
            return wrong("a runner must renew before it stops");
        }
    }
    Ok(())
}
