//! One thing that a person wants done: read from a request, and carried out by
//! the runner that has the pool.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use prost::Message;
use vmpool_core::pool::HoldError;
use vmpool_core::runner::{Runner, RunnerError};
use vmpool_core::{PoolName, StageId, StepId};
use vmpool_proto::v1;

use crate::messages;
use crate::serve::call::{Elsewhere, Request, Subject};
use crate::serve::wire::Answer;

/// What the paths of these requests begin with. No caller can ask for them:
/// only what has entered by another door goes on by them.
pub(in crate::serve) const PATHS: &str = "/vmpool.v1.Runner/";

/// The longest name, or reason, that a person gives.
const LONGEST: usize = 500;

/// Who acts, where nobody says who it is.
const SOMEBODY: &str = "somebody";

/// What is wanted. Each may be asked for again (P9).
#[derive(Debug)]
pub(in crate::serve) enum Operation {
    /// The pool as its own runner sees it.
    Pool { pool: PoolName },
    /// Take no new stages.
    Cordon {
        pool: PoolName,
        drains: bool,
        by: String,
        why: String,
    },
    /// Take stages again, and fill the pool.
    Fill { pool: PoolName },
    /// End a stage.
    CancelStage { stage: StageId, why: String },
    /// End a step.
    CancelStep { stage: StageId, step: StepId },
    /// Keep the stage's machine after its end.
    Hold {
        stage: StageId,
        lasts: Duration,
        by: String,
        why: String,
    },
    /// Keep it no longer.
    ReleaseHold { stage: StageId },
}

/// A request of `vmpool.v1` that can be passed on.
pub(in crate::serve) trait Operates: Message + Default {
    /// What is answered where it went well.
    type Answer: Message + Default;
    /// The call's name.
    const NAME: &'static str;
    /// What it asks for.
    ///
    /// # Errors
    /// A field can't be used: which, and why.
    fn read(self) -> Result<Operation, String>;
}

impl Operates for v1::StatusRequest {
    type Answer = v1::Pool;
    const NAME: &'static str = "Status";

    fn read(self) -> Result<Operation, String> {
        let pool = pool(&self.pool)?;
        Ok(Operation::Pool { pool })
    }
}

impl Operates for v1::CordonRequest {
    type Answer = v1::Pool;
    const NAME: &'static str = "Cordon";

    fn read(self) -> Result<Operation, String> {
        Ok(Operation::Cordon {
            pool: pool(&self.pool)?,
            drains: self.drains,
            by: by(&self.by)?.into_owned(),
            why: text("why", &self.why)?.to_owned(),
        })
    }
}

impl Operates for v1::FillRequest {
    type Answer = v1::Pool;
    const NAME: &'static str = "Fill";

    fn read(self) -> Result<Operation, String> {
        let pool = pool(&self.pool)?;
        Ok(Operation::Fill { pool })
    }
}

impl Operates for v1::CancelStageRequest {
    type Answer = v1::CancelStageResponse;
    const NAME: &'static str = "CancelStage";

    fn read(self) -> Result<Operation, String> {
        let (by, why) = (by(&self.by)?, text("why", &self.why)?);
        let why = match why {
            "" => format!("{by} cancelled it"),
            why => format!("{by} cancelled it: {why}"),
        };
        let stage = stage(&self.stage_id)?;
        Ok(Operation::CancelStage { stage, why })
    }
}

impl Operates for v1::CancelStepRequest {
    type Answer = v1::CancelStepResponse;
    const NAME: &'static str = "CancelStep";

    fn read(self) -> Result<Operation, String> {
        let stage = stage(&self.stage_id)?;
        let step = StepId::parse(&self.step_id).map_err(|error| format!("step_id: {error}"))?;
        Ok(Operation::CancelStep { stage, step })
    }
}

impl Operates for v1::HoldRequest {
    type Answer = v1::HoldResponse;
    const NAME: &'static str = "Hold";

    fn read(self) -> Result<Operation, String> {
        let lasts = Duration::from_millis(self.lasts_ms);
        if lasts.is_zero() {
            return Err("lasts_ms: how long is it to be kept?".to_owned());
        }
        Ok(Operation::Hold {
            stage: stage(&self.stage_id)?,
            lasts,
            by: by(&self.by)?.into_owned(),
            why: text("why", &self.why)?.to_owned(),
        })
    }
}

impl Operates for v1::ReleaseHoldRequest {
    type Answer = v1::ReleaseHoldResponse;
    const NAME: &'static str = "ReleaseHold";

    fn read(self) -> Result<Operation, String> {
        let stage = stage(&self.stage_id)?;
        Ok(Operation::ReleaseHold { stage })
    }
}

fn pool(name: &str) -> Result<PoolName, String> {
    PoolName::parse(name).map_err(|error| format!("pool: {error}"))
}

fn stage(id: &str) -> Result<StageId, String> {
    StageId::parse(id).map_err(|error| format!("stage_id: {error}"))
}

fn by(name: &str) -> Result<Cow<'_, str>, String> {
    Ok(match text("by", name)? {
        "" => SOMEBODY.into(),
        name => name.into(),
    })
}

/// What is told to others must do their terminals no harm.
fn text<'a>(field: &str, text: &'a str) -> Result<&'a str, String> {
    if text.len() > LONGEST {
        return Err(format!("{field}: longer than {LONGEST} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{field}: has control characters or several lines"));
    }
    Ok(text.trim())
}

impl Operation {
    /// What the request asks for.
    ///
    /// # Errors
    /// The answer to a request that can't be carried out.
    pub(in crate::serve) fn read(request: &Request) -> Result<Self, Answer> {
        match request.path.strip_prefix(PATHS) {
            Some(v1::StatusRequest::NAME) => read::<v1::StatusRequest>(request),
            Some(v1::CordonRequest::NAME) => read::<v1::CordonRequest>(request),
            Some(v1::FillRequest::NAME) => read::<v1::FillRequest>(request),
            Some(v1::CancelStageRequest::NAME) => read::<v1::CancelStageRequest>(request),
            Some(v1::CancelStepRequest::NAME) => read::<v1::CancelStepRequest>(request),
            Some(v1::HoldRequest::NAME) => read::<v1::HoldRequest>(request),
            Some(v1::ReleaseHoldRequest::NAME) => read::<v1::ReleaseHoldRequest>(request),
            _ => Err(Answer::failure(
                StatusCode::NOT_IMPLEMENTED,
                "the runner of the pool is too old for that",
            )),
        }
    }

    /// What it is about.
    pub(in crate::serve) fn subject(&self) -> Subject<'_> {
        match self {
            Self::Pool { pool } | Self::Cordon { pool, .. } | Self::Fill { pool } => {
                Subject::Pool {
                    name: pool.clone(),
                    begins: None,
                }
            }
            Self::CancelStage { stage, .. }
            | Self::CancelStep { stage, .. }
            | Self::Hold { stage, .. }
            | Self::ReleaseHold { stage } => Subject::Stage(stage),
        }
    }

    /// Has `runner` carry it out.
    ///
    /// # Errors
    /// The pool is another runner's, or nobody's at the moment.
    ///
    /// # Cancel safety
    /// Safe: call again.
    pub(in crate::serve) async fn perform(&self, runner: &Runner) -> Result<Answer, Elsewhere> {
        let done = match self {
            Self::Pool { pool } => ours(runner, pool),
            Self::Cordon {
                pool,
                drains,
                by,
                why,
            } => match runner.cordon(pool, *drains, by, why).await {
                Ok(()) => {
                    tracing::info!(%pool, drains, by, why, "the pool takes no new stages");
                    ours(runner, pool)
                }
                Err(error) => Err(error),
            },
            Self::Fill { pool } => match runner.fill(pool).await {
                Ok(()) => {
                    tracing::info!(%pool, "the pool takes stages, and is filled");
                    ours(runner, pool)
                }
                Err(error) => Err(error),
            },
            Self::CancelStage { stage, why } => {
                tracing::info!(%stage, why, "the stage is cancelled");
                runner.stop(stage, why).await.map(|()| Vec::new())
            }
            Self::CancelStep { stage, step } => {
                let cancelled = runner.cancel(stage, step).await;
                cancelled.map(|()| Vec::new())
            }
            Self::Hold {
                stage,
                lasts,
                by,
                why,
            } => {
                let held = runner.hold(stage, *lasts, by, why).await;
                held.map(|row| {
                    let price = runner.dollars_an_hour(&row.machine.pool, row.id());
                    messages::held(&row, price).encode_to_vec()
                })
            }
            Self::ReleaseHold { stage } => {
                tracing::info!(%stage, "its machine is not held any more");
                runner.let_go(stage).await.map(|()| Vec::new())
            }
        };
        match done {
            Ok(message) => Ok(Answer::message(message)),
            Err(RunnerError::NotOurs { pool, holder }) => Err(Elsewhere { pool, holder }),
            Err(error) => Ok(refused(&error)),
        }
    }
}

fn read<Q: Operates>(request: &Request) -> Result<Operation, Answer> {
    let message = Q::decode(&*request.body);
    let message = message.map_err(|error| Answer::bad_request(&error.to_string()))?;
    message.read().map_err(|why| Answer::bad_request(&why))
}

/// The pool, where it is ours, as it is sent.
fn ours(runner: &Runner, pool: &PoolName) -> Result<Vec<u8>, RunnerError> {
    let mut standings = runner.status().into_iter();
    let found = standings.find(|standing| standing.name == *pool);
    match found.filter(|standing| standing.status.is_some()) {
        Some(standing) => Ok(messages::standing(standing).encode_to_vec()),
        None => Err(runner.not_ours(pool)),
    }
}

fn refused(error: &RunnerError) -> Answer {
    let status = match error {
        RunnerError::UnknownPool { .. } | RunnerError::UnknownStage { .. } => StatusCode::NOT_FOUND,
        RunnerError::Hold(HoldError::TooLong { .. }) => StatusCode::BAD_REQUEST,
        RunnerError::Attach(_) | RunnerError::Hold(_) => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let told = anyhow::Error::new(error.clone());
    Answer::failure(status, &format!("{told:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::access::Caller;

    #[test]
    fn p13_what_others_are_told_is_one_short_line() {
        let asked = |by: &str, why: &str| {
            let request = v1::CordonRequest {
                pool: "linux".to_owned(),
                drains: true,
                by: by.to_owned(),
                why: why.to_owned(),
            };
            request.read()
        };
        assert!(asked("ann", "another image").is_ok());
        let Ok(Operation::Cordon { by, .. }) = asked("", "") else {
            panic!("nobody need say who it is");
        };
        assert_eq!(by, "somebody");
        for (by, why) in [
            ("a\u{1b}[2J", ""),
            ("", "one\ntwo"),
            (&*"x".repeat(501), ""),
        ] {
            assert!(asked(by, why).is_err(), "{by:?} {why:?}");
        }
    }

    #[test]
    fn p13_a_request_of_another_kind_is_answered() {
        let request = |path: &str, body: &'static [u8]| Request {
            path: format!("{PATHS}{path}"),
            query: String::new(),
            body: body.into(),
            hops: 0,
            caller: Caller::anonymous(),
        };
        let newer = Operation::read(&request("Newer", b"")).expect_err("it is unknown");
        assert_eq!(newer.status, StatusCode::NOT_IMPLEMENTED);
        let broken = Operation::read(&request("Fill", b"\xff")).expect_err("it is no message");
        assert_eq!(broken.status, StatusCode::BAD_REQUEST);
        let nameless = Operation::read(&request("Fill", b"")).expect_err("no pool");
        assert_eq!(nameless.status, StatusCode::BAD_REQUEST);
    }
}
