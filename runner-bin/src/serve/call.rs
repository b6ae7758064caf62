//! One request of a caller: what it asks a runner for, and what the runner says.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use vmpool_agent::Authority;
use vmpool_core::journal::{Holder, JournalError};
use vmpool_core::pool::{AcquireError, AttachError, NoteError};
use vmpool_core::runner::{Runner, RunnerError};
use vmpool_core::stage::StageError;
use vmpool_core::{ExecutorError, Machine, PoolName, StageId, StepOutcome};
use vmpool_pipeline::PoolFile;

use super::access::Caller;
use super::grpc::Ask;
use super::metrics::Builds;
use super::operate::{self, Operation};
use super::turns::Turn;
use super::wire::{
    self, Answer, CompatKeys, DestroyVm, ExecuteVm, MeantSetup, MeantStep, SetupVm, SuspendVm,
};

/// A request as it came, to be answered here or by another runner.
#[derive(Clone)]
pub(crate) struct Request {
    /// `/setup`.
    pub(crate) path: String,
    /// Without its question mark; empty where there is none.
    pub(crate) query: String,
    pub(crate) body: Bytes,
    /// How many runners it has passed.
    pub(crate) hops: u32,
    /// Who asks; where another runner passed it on, that one has seen to it that they may.
    pub(crate) caller: Caller,
}

// The body has secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("path", &self.path)
            .field("hops", &self.hops)
            .finish_non_exhaustive()
    }
}

/// A request as it is meant.
#[derive(Debug)]
pub(crate) enum Call {
    PoolOwner {
        pool: PoolName,
        stage: Option<StageId>,
    },
    Setup(Box<MeantSetup>),
    Step(Box<MeantStep>),
    Destroy {
        stage: StageId,
    },
    /// By gRPC.
    Builds(Box<Ask>),
    /// What a person wants done.
    Operate(Operation),
}

/// What a request is about: its caller must be allowed to use it.
#[derive(Debug)]
pub(crate) enum Subject<'a> {
    /// A pool, for a stage that is to begin there or for none.
    Pool {
        name: PoolName,
        begins: Option<&'a StageId>,
    },
    /// A stage that is there, or was.
    Stage(&'a StageId),
}

/// The pool of the request is another runner's, or nobody's at the moment.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    pub(crate) pool: PoolName,
    pub(crate) holder: Option<Holder>,
}

impl Call {
    /// What the request asks for.
    ///
    /// # Errors
    /// The answer to a request that can't be carried out.
    pub(crate) fn read(request: &Request) -> Result<Self, Answer> {
        match request.path.as_str() {
            "/pool_owner" => {
                let (pool, stage) = wire::pool_owner(&request.query)?;
                Ok(Self::PoolOwner { pool, stage })
            }
            "/setup" => {
                let mut setup = SetupVm::read(&request.body)?;
                if let Some(turn) = Turn::read(&request.query) {
                    turn.narrow(&mut setup);
                }
                Ok(Self::Setup(Box::new(setup)))
            }
            "/step" => ExecuteVm::read(&request.body).map(|step| Self::Step(Box::new(step))),
            "/suspend" => Err(SuspendVm::read(&request.body)),
            "/destroy" => DestroyVm::read(&request.body).map(|stage| Self::Destroy { stage }),
            path if path.starts_with(operate::PATHS) => Operation::read(request).map(Self::Operate),
            path => match Ask::read(path, &request.query, &request.body) {
                Some(ask) => ask.map(|ask| Self::Builds(Box::new(ask))),
                None => Err(Answer::malformed(
                    StatusCode::NOT_FOUND,
                    &format!("no such path: {path}"),
                )),
            },
        }
    }

    /// It may be the beginning of a stage.
    pub(crate) fn begins_a_stage(&self) -> bool {
        match self {
            Self::Setup(_) => true,
            Self::Builds(ask) => ask.begins_a_stage(),
            _ => false,
        }
    }

    /// What it is about, by the pools of this file.
    pub(crate) fn subject(&self, pools: &PoolFile) -> Subject<'_> {
        match self {
            Self::PoolOwner { pool, .. } => Subject::Pool {
                name: pool.clone(),
                begins: None,
            },
            Self::Setup(setup) => {
                let chosen = pools.choose(&setup.wanted);
                let name = chosen.map(|pool| PoolName::new(pool.name.as_str()));
                Subject::Pool {
                    name: name.unwrap_or_else(|| setup.request.pool.clone()),
                    begins: Some(&setup.request.stage),
                }
            }
            Self::Step(meant) => Subject::Stage(&meant.stage),
            Self::Destroy { stage } => Subject::Stage(stage),
            Self::Builds(ask) => ask.subject(pools),
            Self::Operate(operation) => operation.subject(),
        }
    }

    /// What is answered where there is no such stage.
    pub(crate) fn answer_if_unknown(&self, stage: &StageId) -> Answer {
        match self {
            Self::Destroy { .. } => Answer::done(),
            Self::Builds(ask) => ask.answer_if_unknown(stage),
            Self::Operate(_) => {
                let error = RunnerError::UnknownStage {
                    stage: stage.clone(),
                };
                Answer::failure(StatusCode::NOT_FOUND, &told(&error))
            }
            _ => unknown_stage(stage),
        }
    }

    /// Has `runner` carry it out.
    ///
    /// # Errors
    /// It must be carried out by another runner, or by this one later.
    ///
    /// # Cancel safety
    /// As the runner's calls: nothing is lost, a further call goes on.
    pub(crate) async fn perform(
        &self,
        runner: &Runner,
        pools: &PoolFile,
        keys: Option<&Authority>,
    ) -> Result<Answer, Elsewhere> {
        match self {
            Self::PoolOwner { pool, stage } => Ok(owns(runner, pools, pool, stage.as_ref()).await),
            Self::Setup(setup) => {
                let pool = pools.choose(&setup.wanted);
                let mut request = setup.request.clone();
                if let Some(pool) = pool {
                    request.pool = pool.name.as_str().into();
                }
                let build = pool.map(|pool| Builds::asks(&setup.wanted, pool, setup.is_fallback));
                let ended = runner.setup(request).await;
                if let Some(build) = build {
                    build.ended(&ended);
                }
                match ended {
                    Ok(lease) => {
                        let machine = lease.machine();
                        let zone = runner.zone(&machine.pool, &machine.id);
                        let zone = zone.as_deref().unwrap_or_default();
                        Ok(wire::set_up(&lease, pool, zone, compat_keys(keys, machine)))
                    }
                    Err(error) => setup_failed(error),
                }
            }
            Self::Step(meant) => match runner.step(&meant.stage, meant.step.clone()).await {
                Ok(outcome) => Ok(ended(runner, meant, &outcome).await),
                Err(error) => step_failed(error),
            },
            Self::Builds(ask) => ask.perform(runner, pools).await,
            Self::Operate(operation) => operation.perform(runner).await,
            Self::Destroy { stage } => match runner.destroy(stage).await {
                Ok(()) | Err(RunnerError::UnknownStage { .. }) => Ok(Answer::done()),
                Err(RunnerError::NotOurs { pool, holder }) => Err(Elsewhere { pool, holder }),
                // Nothing but a journal that does not answer keeps a stage from ending.
                Err(error) => Ok(Answer::later(&told(&error))),
            },
        }
    }
}

/// Every runner of the deployment answers for all of its pools: what is
/// another's is passed on.
async fn owns(
    runner: &Runner,
    pools: &PoolFile,
    pool: &PoolName,
    stage: Option<&StageId>,
) -> Answer {
    let asked = async {
        Ok(match stage {
            None => runner.knows(pool).await?,
            Some(stage) => {
                let has = runner.pool_of(stage).await?;
                has.is_some_and(|has| pools.is_of(has.as_str(), pool.as_str()))
            }
        })
    };
    let asked: Result<bool, JournalError> = asked.await;
    let owner = asked.unwrap_or_else(|error| {
        tracing::warn!(%pool, %error, "whose a pool or a stage is can't be told");
        false
    });
    Answer::json(&wire::Owned { owner })
}

/// How a step ended, with what it has returned.
async fn ended(runner: &Runner, meant: &MeantStep, outcome: &StepOutcome) -> Answer {
    match runner.returned(&meant.stage, &meant.step.id).await {
        Ok(returned) => wire::outcome(outcome, returned, &meant.outputs),
        // It is there, and may be had when the same is asked again.
        Err(error) => Answer::later(&error.to_string()),
    }
}

/// The keys of a machine with the incumbent's agent, where they are wanted. A
/// machine of ours has its key pinned, and no other that anybody could use.
fn compat_keys(authority: Option<&Authority>, machine: &Machine) -> CompatKeys {
    let Some(authority) = authority.filter(|_| machine.key.is_none()) else {
        return CompatKeys::default();
    };
    match authority.throw_away(&machine.order, machine.attempt) {
        Ok(born_with) => CompatKeys::of(&born_with),
        Err(error) => {
            tracing::warn!(machine = %machine.id, %error, "its keys can't be given");
            CompatKeys::default()
        }
    }
}

fn setup_failed(error: RunnerError) -> Result<Answer, Elsewhere> {
    let provision = |why: &str| format!("could not provision a VM from the pool: {why}");
    Ok(match error {
        RunnerError::NotOurs { pool, holder } => return Err(Elsewhere { pool, holder }),
        RunnerError::UnknownPool { pool } => {
            Answer::failed(&provision(&format!("could not find pool: {pool}")))
        }
        RunnerError::Acquire(AcquireError::Conflict { .. })
        | RunnerError::Stage(StageError::Executor(
            ExecutorError::Conflict { .. } | ExecutorError::Invalid { .. },
        )) => Answer::bad_request(&told(&error)),
        RunnerError::Acquire(AcquireError::QueueFull { .. } | AcquireError::Journal { .. })
        | RunnerError::Attach(AttachError::Journal { .. })
        | RunnerError::Stage(
            StageError::Note(NoteError::Journal { .. }) | StageError::Release(_),
        )
        | RunnerError::Journal(_) => Answer::later(&provision(&told(&error))),
        _ => Answer::failed(&provision(&told(&error))),
    })
}

/// What can't become better by asking again is a step's end; the rest is asked
/// for again.
fn step_failed(error: RunnerError) -> Result<Answer, Elsewhere> {
    Ok(match error {
        RunnerError::NotOurs { pool, holder } => return Err(Elsewhere { pool, holder }),
        RunnerError::UnknownStage { ref stage }
        | RunnerError::Attach(AttachError::Unknown { ref stage }) => unknown_stage(stage),
        RunnerError::Stage(StageError::Executor(
            ExecutorError::Conflict { .. } | ExecutorError::Invalid { .. },
        )) => Answer::bad_request(&told(&error)),
        RunnerError::Stage(StageError::Executor(ExecutorError::NotBegun { .. })) => Answer::failed(
            &format!("failed to call LE.RetryStartStep: {}", told(&error)),
        ),
        RunnerError::Attach(AttachError::Over { .. })
        | RunnerError::Stage(StageError::Executor(
            ExecutorError::MachineLost { .. } | ExecutorError::Refused { .. },
        )) => wire::failed(&told(&error)),
        _ => Answer::later(&told(&error)),
    })
}

fn unknown_stage(stage: &StageId) -> Answer {
    let error = RunnerError::UnknownStage {
        stage: stage.clone(),
    };
    let error = format!("failed to find stage owner entity for stage: {stage}: {error}");
    Answer::failed(&error)
}

/// An error with its sources, on one line.
fn told(error: &RunnerError) -> String {
    format!("{:#}", anyhow::Error::new(error.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_a_setup_that_finds_its_journal_away_is_asked_for_again() {
        let stage = || StageId::new("s");
        let reason = || "connection refused".to_owned();
        let (of, why) = (stage(), reason());
        let note = NoteError::Journal {
            stage: of,
            reason: why,
            in_doubt: false,
        };
        let (of, why) = (stage(), reason());
        let attach = AttachError::Journal {
            stage: of,
            reason: why,
        };
        let (of, why) = (stage(), reason());
        let acquire = AcquireError::Journal {
            stage: of,
            reason: why,
        };
        for away in [
            RunnerError::Stage(note.into()),
            RunnerError::Attach(attach),
            RunnerError::Acquire(acquire),
        ] {
            let answer = setup_failed(away).expect("it is answered here");
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
            assert!(answer.retry_after().is_some());
        }
    }
}
