//! What callers of `builds.proto` ask of the runner that has their pool.
//!
//! A call that concerns a pool goes by the desk, as one of HTTP does: it is
//! carried out here, or by the pool's owner, or by the process that replaces
//! this one, and may be made again (P9).

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use vmpool_core::runner::{PoolOwner, Runner, RunnerError, SetupRequest};
use vmpool_core::{PoolName, StageId, Step, StepId};
use vmpool_pipeline::{PoolFile, Wanted};
use vmpool_proto::peer::v1::ProgressRequest;
use vmpool_proto::v1;

use super::answer::{done, failed};
use super::failure::{Failure, acquire_failed, other, step_failed};
use super::{message, request};
use crate::serve::access::Caller;
use crate::serve::call::{Elsewhere, Request, Subject};
use crate::serve::metrics;
use crate::serve::wire::Answer;

/// Where the paths of these calls begin, between runners.
const PREFIX: &str = "/vmpool.v1.Builds/";

/// The query of an acquire in a pool that is not the first.
pub(super) const FALLBACK: &str = "fallback";

/// Who asks how a request stands, and knows that, is answered by then.
const NO_NEWS: Duration = Duration::from_secs(10);

/// Between two looks at how a request stands, where nothing said that it changed.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// So long after a change it is looked at: others often follow.
const SETTLE: Duration = Duration::from_millis(50);

/// A call by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Acquire,
    Progress,
    Release,
    Withdraw,
    Run,
    Attach,
    Cancel,
}

impl Method {
    const ALL: [Self; 7] = [
        Self::Acquire,
        Self::Progress,
        Self::Release,
        Self::Withdraw,
        Self::Run,
        Self::Attach,
        Self::Cancel,
    ];

    /// Its path between runners.
    pub(super) fn path(self) -> String {
        format!("{PREFIX}{self:?}")
    }
}

/// A call as it is meant.
#[derive(Debug)]
pub(crate) enum Ask {
    Acquire {
        request: SetupRequest,
        wanted: Wanted,
        /// The pool is not the first that was asked for the stage.
        is_fallback: bool,
    },
    Progress {
        stage: StageId,
        pool: PoolName,
        wanted: Wanted,
        /// What the asker knows.
        known: Option<v1::AcquireProgress>,
    },
    Release {
        stage: StageId,
    },
    /// A release, at the owner of one pool: who waits there is known to it alone.
    Withdraw {
        stage: StageId,
        pool: PoolName,
    },
    Run {
        stage: StageId,
        step: Step,
    },
    Attach {
        stage: StageId,
        step: StepId,
    },
    Cancel {
        stage: StageId,
        step: StepId,
    },
}

/// The request that ends a stage's wait in a pool, for the pool's owner.
pub(in crate::serve) fn withdrawal(pool: &PoolName, stage: &StageId, caller: Caller) -> Request {
    let of = v1::AcquireRequest {
        stage_id: stage.to_string(),
        pool: pool.to_string(),
        ..v1::AcquireRequest::default()
    };
    Request {
        path: Method::Withdraw.path(),
        query: String::new(),
        body: of.encode_to_vec().into(),
        hops: 0,
        caller,
    }
}

impl Ask {
    /// The call of this path; none: it is no call of this API.
    pub(crate) fn read(path: &str, query: &str, body: &[u8]) -> Option<Result<Self, Answer>> {
        let mut methods = Method::ALL.into_iter();
        let method = methods.find(|method| method.path() == path)?;
        let mut ask = Self::of(method, body);
        if let Ok(Self::Acquire { is_fallback, .. }) = &mut ask {
            *is_fallback = query == FALLBACK;
        }
        Some(ask.map_err(failed))
    }

    /// It may be the beginning of a stage.
    pub(crate) fn begins_a_stage(&self) -> bool {
        matches!(self, Self::Acquire { .. })
    }

    fn of(method: Method, body: &[u8]) -> Result<Self, Failure> {
        Ok(match method {
            Method::Acquire => {
                let (request, wanted) = request::acquire(decode(body)?)?;
                Self::Acquire {
                    request,
                    wanted,
                    is_fallback: false,
                }
            }
            Method::Progress => {
                let asked: ProgressRequest = decode(body)?;
                let (request, wanted) = request::acquire(asked.of.unwrap_or_default())?;
                Self::Progress {
                    stage: request.stage,
                    pool: request.pool,
                    wanted,
                    known: asked.known,
                }
            }
            Method::Release => {
                let asked: v1::ReleaseRequest = decode(body)?;
                let stage = request::stage(&asked.stage_id)?;
                Self::Release { stage }
            }
            Method::Withdraw => {
                let asked: v1::AcquireRequest = decode(body)?;
                let stage = request::stage(&asked.stage_id)?;
                let pool = request::pool(&asked.pool)?;
                Self::Withdraw { stage, pool }
            }
            Method::Run => {
                let (stage, step) = request::run(decode(body)?)?;
                Self::Run { stage, step }
            }
            Method::Attach => {
                let asked: v1::AttachRequest = decode(body)?;
                let (stage, step) = (&asked.stage_id, &asked.step_id);
                let (stage, step) = (request::stage(stage)?, request::step(step)?);
                Self::Attach { stage, step }
            }
            Method::Cancel => {
                let asked: v1::CancelRequest = decode(body)?;
                let (stage, step) = (&asked.stage_id, &asked.step_id);
                let (stage, step) = (request::stage(stage)?, request::step(step)?);
                Self::Cancel { stage, step }
            }
        })
    }

    /// What it is about, by the pools of this file.
    pub(crate) fn subject(&self, pools: &PoolFile) -> Subject<'_> {
        match self {
            Self::Acquire {
                request, wanted, ..
            } => Subject::Pool {
                name: chosen(pools, wanted, request.pool.clone()),
                begins: Some(&request.stage),
            },
            Self::Progress { pool, wanted, .. } => Subject::Pool {
                name: chosen(pools, wanted, pool.clone()),
                begins: None,
            },
            Self::Withdraw { pool, .. } => Subject::Pool {
                name: pool.clone(),
                begins: None,
            },
            Self::Release { stage }
            | Self::Run { stage, .. }
            | Self::Attach { stage, .. }
            | Self::Cancel { stage, .. } => Subject::Stage(stage),
        }
    }

    /// What is answered where there is no such stage.
    pub(crate) fn answer_if_unknown(&self, stage: &StageId) -> Answer {
        match self {
            Self::Release { .. } => done(&v1::ReleaseResponse {}),
            _ => failed(other(RunnerError::UnknownStage {
                stage: stage.clone(),
            })),
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
    ) -> Result<Answer, Elsewhere> {
        match self {
            Self::Acquire {
                request,
                wanted,
                is_fallback,
            } => {
                let mut request = request.clone();
                request.pool = chosen(pools, wanted, request.pool);
                let pool = pools.choose(wanted);
                let build = pool.map(|pool| metrics::Builds::asks(wanted, pool, *is_fallback));
                let lease = runner.setup(request).await;
                if let Some(build) = build {
                    build.ended(&lease);
                }
                answer(lease, |lease| message::lease(&lease), acquire_failed)
            }
            Self::Progress {
                stage,
                pool,
                wanted,
                known,
            } => {
                let pool = chosen(pools, wanted, pool.clone());
                let news = news(runner, &pool, stage, known.as_ref()).await;
                answer(news, |news| news, other)
            }
            Self::Release { stage } => release(runner, stage).await,
            Self::Withdraw { stage, pool } => match runner.owner(pool) {
                PoolOwner::Theirs(holder) => Err(Elsewhere {
                    pool: pool.clone(),
                    holder: Some(holder),
                }),
                _ => match runner.pool_of(stage).await {
                    Ok(Some(of)) if of == *pool => release(runner, stage).await,
                    _ => Ok(done(&v1::ReleaseResponse {})),
                },
            },
            Self::Run { stage, step } => {
                let ended = runner.step(stage, step.clone()).await;
                answer(ended, |outcome| message::result(&outcome), step_failed)
            }
            Self::Attach { stage, step } => {
                let ended = runner.attach_step(stage, step).await;
                answer(ended, |outcome| message::result(&outcome), step_failed)
            }
            Self::Cancel { stage, step } => {
                let cancelled = runner.cancel(stage, step).await;
                answer(cancelled, |()| v1::CancelResponse {}, step_failed)
            }
        }
    }
}

async fn release(runner: &Runner, stage: &StageId) -> Result<Answer, Elsewhere> {
    match runner.destroy(stage).await {
        Err(RunnerError::UnknownStage { .. }) => Ok(done(&v1::ReleaseResponse {})),
        released => answer(released, |()| v1::ReleaseResponse {}, other),
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Failure> {
    M::decode(body).map_err(|error| Failure::field("request", error.to_string()))
}

fn answer<T, M: Message>(
    result: Result<T, RunnerError>,
    message: impl FnOnce(T) -> M,
    failure: impl FnOnce(RunnerError) -> Failure,
) -> Result<Answer, Elsewhere> {
    match result {
        Ok(value) => Ok(done(&message(value))),
        Err(RunnerError::NotOurs { pool, holder }) => Err(Elsewhere { pool, holder }),
        Err(error) => Ok(failed(failure(error))),
    }
}

/// The pool that is meant: one of a family, or the one that was named.
fn chosen(pools: &PoolFile, wanted: &Wanted, named: PoolName) -> PoolName {
    pools
        .choose(wanted)
        .map_or(named, |pool| pool.name.as_str().into())
}

/// How a request stands, once that is not what is known of it.
async fn news(
    runner: &Runner,
    pool: &PoolName,
    stage: &StageId,
    known: Option<&v1::AcquireProgress>,
) -> Result<v1::AcquireProgress, RunnerError> {
    let until = Instant::now() + NO_NEWS;
    let mut changes = runner.changes();
    loop {
        changes.mark_unchanged();
        let stands = message::progress(runner.progress(pool, stage)?);
        let now = Instant::now();
        if Some(&stands) != known || now >= until {
            return Ok(stands);
        }
        let change = async {
            // It ends with the runner only.
            let _ = changes.changed().await;
            sleep(SETTLE).await;
        };
        let _ = timeout_at(until.min(now + LOOK_ANYWAY), change).await;
    }
}
